"""A seeded world in which the real scripts, the real engine and the real orchestrator parts meet every fault.

One thread, no processes, one real Redis. Each step of a run is one thing that could happen next: a worker claims, works
off what arrived, ends an attempt; time jumps, timers fire; a client sends, pauses, restarts; a worker dies, loses its
lease, or gets no reply; Redis forgets its last second. After each step everything in Redis is read and compared with
what a replay of the journal says must be there. At the end nothing fails any more, and every instance must end.

The engine is the product's own: only its threads are missing, the simulator calls what they would call. Faults enter
where every call passes, ``Store._send``. A run depends on its seed alone, and where a hash has outgrown its compact
form on the server as well, which begins each life with an order of its own for the fields of large hashes.

    run.py            the run: what may happen next, and how it comes to its end
    setup.py          what the seed has decided beforehand
    world.py          what the run knows, and when a call may fail
    workers.py        moves: what workers, orchestrators and clients do,
    orchestrators.py
    clients.py
    scheduling.py      what a schedule adds to them: looks and deeds far apart, pauses
    scheduled.py
    accidents.py      what befalls them,
    garbage.py        and what anybody may write into any key
    node.py           a worker process without its threads
    access.py         the store in which calls fail
    reading.py        everything in Redis, as ``seen.py`` describes it
    checks.py         what must hold after every step, by the numbers of docs/invariants.md;
    places.py         of the keys of shards,
    bells.py          of who rings for new intents,
    mail.py           of events,
    undone.py         of handlers,
    explained.py      of what is said about why an instance does not move,
    slots.py          of limits on those that run, with what is done about them
    oracle.py         what a replay of the journal says must be there
    mutant.py         a defence that is taken away for the length of a run
"""
