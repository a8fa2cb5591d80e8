"""Commands: executed at most once, never late, with exactly one final result.

``service`` takes what happens and calls the others, in this order:

- ``validation`` makes an order of a message, or refuses it.
- ``active_commands`` owns the record of each command: its state, where it waits, its request in
  flight, its deadlines, what proves it, who waits for the answer, what is on disk of it.
- ``dispatcher`` sends the command whose turn it is; ``send_policy`` says whether it goes now, by
  ``shown_state``, which knows what the charger shows; ``retry_policy`` what a failure means.
- ``confirmation`` finds the command that a response or an observation is about.
- ``persistence`` writes the rows; ``recovery`` goes on with those of an earlier process.
- ``results`` spells the answers.

``state_machine`` is the table of the states and the steps between them. ``retained`` finds commands
that lie at the broker as retained messages.
"""
