import pytest

from edge_runtime.sources.decode_choice import DecodeChoice


def feed(choice, packets, distance_s, key_every, begin_s=0.0):
    """The choice after each packet."""
    made = []
    for number in range(packets):
        choice.note_packet(begin_s + number * distance_s, is_key=number % key_every == 0)
        made.append(choice.now)
    return made


def test_key_frames_are_chosen_once_they_have_come_often_enough():
    made = feed(DecodeChoice("auto", fps=0.5), 500, 0.04, key_every=50)
    assert made[0] == "all"
    assert made[-1] == "keyframes"
    assert made.index("keyframes") == 200, "at the fifth key frame: four distances"


@pytest.mark.parametrize("fps", [None, 1.0, 5.0])
def test_all_frames_are_decoded_where_key_frames_are_too_rare_for_the_wanted_rate(fps):
    assert set(feed(DecodeChoice("auto", fps), 500, 0.04, key_every=50)) == {"all"}


def test_a_stream_of_key_frames_alone_is_watched_for_some_seconds_first():
    made = feed(DecodeChoice("auto", fps=5.0), 200, 0.04, key_every=1)
    assert made[70] == "all"
    assert made[-1] == "keyframes"


def test_uneven_key_frames_are_not_relied_on():
    choice = DecodeChoice("auto", fps=0.5)
    for at_s in (0, 1, 4, 5, 8, 9, 12):
        choice.note_packet(at_s, is_key=True)
    assert choice.now == "all"


def test_a_late_key_frame_brings_all_frames_back():
    choice = DecodeChoice("auto", fps=0.5)
    feed(choice, 500, 0.04, key_every=50)
    choice.note_packet(21.1, is_key=False)
    assert choice.now == "all"


def test_key_frames_that_need_others_are_never_chosen_again():
    choice = DecodeChoice("auto", fps=0.5)
    feed(choice, 500, 0.04, key_every=50)
    choice.reject_key_frames()
    assert set(feed(choice, 500, 0.04, key_every=50, begin_s=20.0)) == {"all"}


@pytest.mark.parametrize("decode", ["all", "nonref", "keyframes"])
def test_a_choice_of_the_configuration_is_kept(decode):
    assert set(feed(DecodeChoice(decode, fps=0.5), 500, 0.04, key_every=50)) == {decode}


def test_the_longest_distance_is_known_while_it_grows():
    choice = DecodeChoice("keyframes", fps=None)
    assert choice.key_distance_s(0.0) == 0.0
    for at_s in (0.0, 2.0, 5.0):
        choice.note_packet(at_s, is_key=True)
    assert choice.key_distance_s(5.0) == 3.0
    assert choice.key_distance_s(9.0) == 4.0
