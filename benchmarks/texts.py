"""What is said in benchmarks: about 200 different ordinary messages and as many replies, the same in every run.

No message is like the one before it, and most hold a name that is in no other: nothing that remembers words or texts
looks quicker than it is with people.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import cycle, islice

__all__ = ["REPLIES", "SAID", "of_length", "replies"]

_POOL = 200

_THINGS = (
    "a heat pump", "the train to {name}", "a sourdough starter", "my tax return", "a wooden deck", "the {name} lease",
    "an electric bike", "a pension plan", "the school timetable", "a spreadsheet of expenses", "a vegetable garden",
    "a second-hand camera", "our wedding playlist", "the dishwasher", "a language course", "a job at {name}",
    "the birthday dinner", "a hiking route near {name}", "a Python script", "the kitchen tiles", "a dog called {name}",
    "a savings account", "the {name} museum", "a winter coat", "an old piano", "the balcony plants", "a {name} recipe",
)  # fmt: skip
_PEOPLE = (
    "my sister",
    "our neighbour",
    "a colleague",
    "my landlord",
    "the children",
    "my parents",
    "a friend",
    "the team",
)
_QUALITIES = ("cheaper", "quicker", "more reliable", "easier to repair", "quieter", "better for beginners", "lighter")
_TIMES = (
    "this week",
    "before March",
    "on Saturday",
    "over the summer",
    "in the evenings",
    "within two months",
    "today",
)
_SYLLABLES = ("ba", "cor", "del", "fi", "gan", "hol", "ke", "lin", "mor", "nes", "pa", "qui", "ros", "ta", "vel", "wi")
_ASKS = (
    "Could you explain how {thing} works, and what I should watch out for?",
    "I need to sort out {thing} {time}, best together with {person}.",
    "What would you suggest if {thing} has to be {quality} than what we have now?",
    "Last year {person} told me that {thing} costs about {number} euros; is that still right?",
    "Please write a short message to {person} about {thing}, friendly and not too formal.",
    "How do I compare {thing} with {other}, if only one of them can be done {time}?",
    "We are {number} people, and {person} would like to come along as well.",
    "Is there a way to make {thing} {quality} without buying anything new?",
    "Make me a list of {number} steps for {thing}, the most important one first.",
    "Thanks, that helped. And what about {other}, would you do that {time} too?",
)
_ANSWERS = (
    "For {thing}, start with what you already have and see how far it goes {time}.",
    "The usual way is to ask {person} first, since {thing} depends on a few details that only they know.",
    "In most cases {thing} takes about {number} days, and a little longer when {other} comes in between.",
    "Two options are worth a look: one is {quality}, the other needs less room.",
    "Here is a short version: measure first, write down {number} figures, and decide {time}.",
    "If you want it {quality}, look at {other} as well; the two have more in common than it seems.",
    "A good first step is a list: what must be done {time}, what can wait, and what {person} could take over.",
    "Prices vary, but around {number} euros is a fair guess for {thing}.",
    "You could tell {person} that {thing} is nearly done and that the rest follows {time}.",
    "I would keep {other} as it is, and change only one thing at a time.",
)


def _texts(templates: tuple[str, ...], sentences: tuple[int, int], seed: int) -> tuple[str, ...]:
    """Return different texts of so many sentences each."""
    chance, made = random.Random(seed), dict[str, None]()
    while len(made) < _POOL:
        said = []
        for template in chance.sample(templates, chance.randint(*sentences)):
            thing, other = chance.sample(_THINGS, 2)
            words = {"person": chance.choice(_PEOPLE), "quality": chance.choice(_QUALITIES)}
            number, time = chance.randint(2, 400), chance.choice(_TIMES)
            sentence = template.format(thing=thing, other=other, number=number, time=time, **words)
            sentence = re.sub("{name}", lambda _: "".join(chance.choices(_SYLLABLES, k=3)).title(), sentence)
            said.append(sentence[0].upper() + sentence[1:])
        made[" ".join(said)] = None
    return tuple(made)


SAID = _texts(_ASKS, (2, 6), seed=1)
"""Messages of users, 120 to 480 characters."""

REPLIES = _texts(_ANSWERS, (3, 8), seed=2)
"""Replies, 190 to 680 characters."""


def replies() -> Iterator[str]:
    """Yield replies without end."""
    return cycle(REPLIES)


def of_length(length: int, number: int) -> str:
    """Return a message of so many characters; another one for each number, up to the size of the pool."""
    text, messages = "", islice(cycle(SAID), number % _POOL, None)
    while len(text) < length:
        text += next(messages) + " "
    return text[:length]
