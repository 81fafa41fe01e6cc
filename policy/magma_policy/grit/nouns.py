"""Nouns that nobody can point at: abstract ones, and words of place. The paper names "time", "love" and "freedom" and
does not publish its list; this one is ours."""

from __future__ import annotations

_PLACES = """
left right front back rear middle center centre top bottom side background foreground distance inside outside interior
exterior direction way north south east west midst vicinity surroundings rest end beginning
"""
_ABSTRACT = """
ability absence abuse acceptance access accident accomplishment account achievement act action activity advance
advantage adventure advice affair affection age aggression agreement aid aim amazement ambition amount analysis
anger anguish announcement answer anticipation anxiety apology appearance appreciation approach argument arrival
aspect assistance atmosphere attack attempt attention attitude attraction authority autumn average awareness beauty
behavior behaviour belief benefit birth blame bravery calm capacity care career case cause celebration century
chance change chaos character charm childhood choice circumstance civilization class clue coincidence comfort
comment commitment communication community comparison competition complaint concept concern conclusion condition
confidence conflict confusion connection conscience consequence consideration contact content contest context
contrast control conversation cooperation courage crime crisis criticism cruelty culture curiosity damage danger
date dawn day deal death debate debt decade decision defeat defence defense degree delay delight demand democracy
dependence depth desire despair detail determination development difference difficulty dignity discipline discovery
discussion disease disgust dream dusk duty ease economy education effect effort ego elegance emotion emphasis energy
enjoyment entertainment enthusiasm envy era error essence eternity evening event evidence evil evolution example
excellence excitement excuse existence expectation experience explanation expression extent fact failure faith fame
fantasy fashion fate fault favor favour fear feature feeling fiction fitness focus force forgiveness fortune freedom
friendship fun function future gain generation generosity genius glory goal goodness gossip grace gratitude
greatness greed grief growth guidance guilt habit happiness hardship harm harmony hate hatred health help heritage
history hobby holiday honesty honor honour hope horror hour humor humour hunger idea identity ignorance image
imagination impact importance impression improvement independence industry influence information injury injustice
innocence innovation insight inspiration instance intelligence intention interest issue jealousy job journey joy
justice kind kindness knowledge lack language laughter law laziness leadership learning leisure length level liberty
lie life lifestyle likelihood logic loneliness look loss love loyalty luck luxury madness magic majority manner
matter maturity meaning means measure memory mercy method might millennium mind minute misery mission mistake moment
month mood morality morning motion motivation movement mystery nature need night noise nonsense noon notion
obligation occasion occurrence offer opinion opportunity option order origin outcome pain panic part participation
passion past patience patriotism peace perception perfection performance period permission personality perspective
phase philosophy place plan pleasure plenty point policy politics possibility poverty power practice praise prayer
preparation presence present pressure pride principle priority privacy problem process progress promise proof
prosperity protection punishment purpose quality quantity question range rate reaction reality realization reason
recognition regard regret relation relationship relaxation relief religion reputation request research respect
response responsibility result revenge reward rhythm risk romance routine rumor sadness safety sale sanity
satisfaction season second secret security sense sensitivity series service shame silence simplicity sincerity
situation size skill sleep society solitude solution sorrow sort sound speech speed spirit spring state status stay
strength stress struggle study stupidity style success suggestion summer support surprise sympathy system talent
talk task taste technique temptation tendency term theory thing thought threat time today tomorrow tonight topic
tradition tragedy training transition trend trip trouble trust truth type uncertainty understanding unity use value
variety victory view violence vision voice wait war warmth way weakness wealth weather week weekend weight welcome
welfare will winter wisdom wish wit wonder work world worry worth year yesterday youth
"""
PLACES = frozenset(_PLACES.split())
ABSTRACT = frozenset(_ABSTRACT.split())


def singulars(word: str) -> set[str]:
    """A noun as it stands, and what it may be the plural of."""
    found = {word}
    if word.endswith("ies"):
        found.add(f"{word[:-3]}y")
    if word.endswith("es"):
        found.add(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        found.add(word[:-1])
    return found
