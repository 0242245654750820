"""The signed records of a run: received, kept and announced.

- `record_book`        the newest heads or resume states that this peer has seen, kept on disk
- `head_book`          the record book of heads
- `resume_states`      reading the announced resume states
- `admission`          the check that a head or resume state passes before it is kept
- `authorisation`      a run's lists of members and authors
- `survey`             the announced state of every slot: claims and heads
- `claim_evidence`     the published work that supports a claim
- `announcing`         presence, provider and head records, renewed before they expire
- `provider_records`   a node's provider records, one per content for all its runs
- `contributions`      contribution logs between peers: announced, fetched, checked
- `contribution_logs`  contribution logs on disk
- `refusals`           refused content and claims, with author and reason
"""
