"""What is known of the run: signed records, heard, kept and announced.

- `record_book`        the newest heads, or resume states, this peer has seen, kept on disk
- `head_book`          that of heads
- `resume_states`      the resume states that the swarm announces
- `admission`          which heads and resume states are taken at all
- `authorisation`      whose word counts in a run: its lists
- `survey`             what the swarm says about every slot of the run: claims, heads, providers
- `claim_evidence`     what published work says of a claim
- `announcing`         presence, provider and head records, renewed before they expire
- `provider_records`   what a node serves, announced once for all its runs
- `contributions`      what an author's peers published: told, fetched, checked
- `contribution_logs`  contribution logs on disk
- `refusals`           what was refused, from whom and why: condemned content, liars
"""
