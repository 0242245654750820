"""Records that peers exchange: data and pure decisions. No I/O, no clock: `now` is an argument.

From the ground up:

    codec            strict canonical msgpack, and the signed envelope
    fields           bounds of a record's fields, declared beside them
    address          where a peer can be dialled
    keys             the DHT keys of records
    objectives       what an expert may be trained with
    run              a training effort everyone agrees on, content-addressed
    manifest         a file as a list of chunks, content-addressed
    head             "my newest checkpoint of this expert"; which heads count
    resume           "everything needed to continue training this expert from here"
    created_time     the order of an author's records, whatever its clock does
    progress_limits  what heads and resume states can claim of their training
    claim            "I train this expert"; who holds it, and which to take
    presence         "I am here, at these addresses"
    device_fit       the memory that a slot needs, and the slots that suit a device
    contribution     "this is what I published", entry after entry
"""
