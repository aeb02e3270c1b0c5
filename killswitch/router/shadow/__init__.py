"""Shadow mode, the service's side: control's finished requests are sampled, asked of the canary unseen, and recorded.

The request path appends one reference to a bounded queue (`Shadow.offer`). Everything else happens on threads of the
mirror: the canary is asked, and both answers are written to a folder that `killswitch shadow worker` reads. Nothing is
compared in the service's process.
"""
