"""A judge: another model compares control's answers with the canary's, and says which one is better.

Worker side only, never in the service. Each pair is asked in both orders, and a verdict that flips with the order is a
tie. The answers are data to the judge. It gates nothing until its agreement with human labels was measured.
"""
