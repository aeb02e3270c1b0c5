"""Shadow mode, the service's side: control's finished requests are sampled, asked of the canary unseen, and recorded.

The request path appends one reference to a bounded queue (`Shadow.offer`). Everything else happens on threads of the
mirror: the canary is asked, and both answers are written to a folder that `killswitch shadow worker` reads. Nothing is
compared in the service's process.
"""

from killswitch.router.shadow.asking import Ask, Asking, Finished
from killswitch.router.shadow.comparable import NotComparable
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.ledger import SpendLedger, SpendRefusal, SpendReservation
from killswitch.router.shadow.mirror import Shadow

__all__ = [
    "Ask",
    "Asking",
    "Drop",
    "Finished",
    "NotComparable",
    "Shadow",
    "SpendLedger",
    "SpendRefusal",
    "SpendReservation",
]
