"""Slack's buttons, dialogs and slash command: who presses, whether they may, what it does, and the answer in words."""
