"""`make bench`: Marquee beside its limits, the seed's way, and peers, in one run on one machine."""
