"""Which readings count: arrival order decides, never the wall clock.

A reading newer than all before it is accepted. What comes at or before the newest time is a duplicate or a
conflict when it repeats one of the `RECENT` accepted readings that the state remembers, else late. A first
reading far ahead is a clock jump; when the next one goes on from there, the absence was real.

An accepted jump leaves a hole between the times before and after it, and a meter's very first reading leaves all
that is before it. When `clock_return_readings` in a row come from far within the hole, the clock had been wrong, and
the meter starts anew from there: nobody is late for ever. What repeats or fills in the time before a hole, as a replay
does, is no such return. The loop is in `order.c`.
"""

OUT_OF_RANGE, CONFLICT, CLOCK_JUMP = "out_of_range", "conflict", "clock_jump"
REASONS = (OUT_OF_RANGE, CONFLICT, CLOCK_JUMP)  # as the C code numbers them, from 1
