"""What peers say to each other: pure data and decisions. No I/O, no clock: `now` is an argument.

From the ground up:

    codec     strict canonical msgpack, and the signed envelope
    fields    bounds of a record's fields, declared beside them
    address   where a peer can be dialled
    keys      under which DHT key a record is found
    run       a training effort everyone agrees on, content-addressed
    manifest  a file as a list of chunks, content-addressed
    head      "my newest checkpoint of this expert"; whose counts
    resume    "all it takes to train this expert on from here"
    order     in which order an author's records come, whatever its clock does
    progress  what heads and resume states can claim of their training
    claim     "I train this expert"; who holds it, and which to take
    presence  "I am here, at these addresses"
    contribution  "this is what I published", entry after entry
"""
