"""The commands of `marquee`, one module a noun: parse, call, print. Heavy imports wait inside the functions."""
