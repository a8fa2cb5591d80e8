from bridge.core.commands.state_machine import FINAL, TRANSITIONS, State, Transition

# The answers of the public interface; accepted is the only one that is not final.
FINAL_WORDS = {
    "confirmed",
    "noop",
    "rejected",
    "failed",
    "refused",
    "expired",
    "superseded",
    "unconfirmed",
    "unknown",
}


def test_the_final_states_are_the_words_of_the_interface():
    """Every final answer of the contract is a final state, and no other state is final."""
    assert {state.value for state in FINAL} == FINAL_WORDS


def test_every_state_can_be_reached_and_left():
    """From the arrival every state is reachable, and from each a final one."""
    reached = {State.RECEIVED}
    for _ in State:
        reached |= {to for state in reached for to in TRANSITIONS.get(state, {}).values()}
    assert reached == set(State)
    ends = set(FINAL)
    for _ in State:
        ends |= {state for state, row in TRANSITIONS.items() if ends & set(row.values())}
    assert ends == set(State)


def test_what_may_have_been_carried_out_is_never_sent_again():
    """No path leads from doubt or acceptance back to waiting."""
    reached = {State.IN_DOUBT, State.ACCEPTED}
    for _ in State:
        reached |= {to for state in reached for to in TRANSITIONS.get(state, {}).values()}
    assert not reached & {State.WAITING, State.LEAVING, State.SENT}


def test_a_restart_sends_nothing_again_that_may_have_left():
    """From leaving on, a new start leads to a state that has no way back to the cloud."""
    after = {
        state: row[Transition.RESTART]
        for state, row in TRANSITIONS.items()
        if Transition.RESTART in row
    }

    assert after == {
        State.WAITING: State.WAITING,
        State.LEAVING: State.IN_DOUBT,
        State.SENT: State.IN_DOUBT,
        State.ACCEPTED: State.ACCEPTED,
        State.IN_DOUBT: State.IN_DOUBT,
        State.RUNNING: State.RUNNING,
    }


def test_nothing_is_sent_that_is_not_on_its_way_on_disk():
    """The only way into sent is from leaving, which is committed first."""
    ways = {state for state, row in TRANSITIONS.items() if State.SENT in row.values()}

    assert ways == {State.LEAVING}
