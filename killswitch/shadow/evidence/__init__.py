"""The statistics of shadow mode: paired, sequential, valid however often one looks. Pure; numpy alone.

`columns` (recorded pairs as arrays), `betting` (evidence about one mean), `floor` (canary against control's second
answers), `measures` (from columns to what each criterion bets on).
"""
