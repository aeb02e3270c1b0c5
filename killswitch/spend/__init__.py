"""Spend: prices, one ledger for everything that asks a model on our account, and caps.

Money is a whole number of micro-dollars everywhere. An amount is reserved before a model is asked, settled on its real
usage, and released if it was not spent. A price that is not known is unknown, never 0.
"""

from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import Price, PriceList
from killswitch.spend.reservations import NotReserved, Reservation, ScopedLedger, SpendReason
from killswitch.token_usage import Usage

__all__ = [
    "Cap",
    "Ledger",
    "NotReserved",
    "Period",
    "Price",
    "PriceList",
    "Reservation",
    "ScopedLedger",
    "SpendReason",
    "Usage",
]
