"""The grammar of the synthetic corpus: what a sentence is made of, as rules over word classes and their forms.

Knows no words but those that hold sentences together, nor what nouns, times and places are made of (`phrases` does).

A rule is a name, "=" and its alternatives, each on a line of its own or after a "|", with a weight before a colon where
that is not 1. Upper case is said as it stands, lower case names a rule or a word list. {n} and its like are features:
within one alternative they have one value, and those in the name of a rule are chosen by who asks for it. A rule given
again, for some of the values, has those alternatives too. Of a list of words, .sg and .pl are forms of nouns; .base,
.past, .done and .ing those of verbs, and :sg, :pl and :me what agrees with HE, THEY and I.
"""

FEATURES = {  # the values of each; {v} is every kind of verb that there is
    "n": ("sg", "pl", "me"),  # what a verb agrees with
    "k": ("sg", "pl"),
    "t": ("past", "now", "will"),
    "o": (  # what one does something with
        *("food", "paper", "person", "clothes", "animal", "parcel"),
        *("tool", "vehicle", "furniture", "machine", "plant", "idea"),
    ),
    "a": ("food", "paper", "clothes", "animal", "parcel", "vehicle", "furniture", "plant"),  # what one does for a while
    "i": ("paper", "clothes", "parcel", "tool", "vehicle", "furniture", "machine", "plant"),  # no being, not to eat
    "c": ("clothes", "food", "furniture", "parcel", "tool", "vehicle", "plant"),  # what is for sale
    "g": ("he", "she"),
}
WEIGHTS = {  # of those values; alike where none are given
    "n": (5, 2, 2),
    "k": (3, 2),
    "t": (6, 4, 2),
    "o": (5, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2),
    "a": (5, 4, 3, 3, 2, 2, 2, 2),
    "g": (1, 1),
}

SENTENCES = """
sentence =
    40: clause.{t}
    6: opening clause.{t}
    5: clause.{t} AND plain.{t}
    5: clause.{t} BUT plain.{t}
    6: when.{t} clause.{t}
    6: clause.{t} after.{t}
    4: IF subj.{n} {o}:{n} obj.{o} subj.me fin.will.me.{a} obj.{a}
    2: IF IT rains.sg TOMORROW plain.will
    7: speech
    8: question
    6: command
    5: passive
    4: sky
    3: exists
    3: state
    3: price
    3: date
    3: compare
    2: exclaim
clause.{t} =
    14: subj.{n} vp.{t}.{n}
    5: subj.{n} vp.{t}.{n} when-short.{t}
    3: subj.{n} vp.{t}.{n} at-time
    2: when-long.{t} subj.{n} vp.{t}.{n}
    3: the.animal.{k} roams.{t}.{k}
    2: the.vehicle.{k} rolls.{t}.{k}
    2: the.machine.{k} runs.{t}.{k}
plain.{t} = 5: subj.{n} vp.{t}.{n} | 1: the.animal.{k} roams.{t}.{k}
plain.past = 1: NOBODY {o}.past obj.{o}
plain.now = 1: NOBODY {o}:sg obj.{o}
plain.will = 1: NOBODY WILL {o}.base obj.{o}
opening =
    7: opening.word | 2: OF COURSE | 1: BY THE WAY | 1: AT LAST | 1: IN THE END | 1: TO BE HONEST | 2: I HOPE |
    1: YOU SEE | 1: DEAR ME
reason.past =
    4: BECAUSE plain.past | 3: WHEN plain.past | 2: BEFORE plain.past |
    3: WHILE subj.{n} was.{n} {a}.ing obj.{a} | 2: ALTHOUGH plain.past
reason.now = 3: BECAUSE plain.now | 3: WHENEVER plain.now | 1: EVEN THOUGH plain.past
reason.will =
    2: AS SOON AS plain.now | 3: IF plain.now | 3: WHEN plain.now | 2: BEFORE plain.now | 1: UNLESS plain.now
after.{t} = 6: reason.{t}
after.past = 1: UNTIL THE vehicle.sg roll.past | 1: SO plain.past
when.{t} = 6: reason.{t}
when.past = 2: AFTER plain.past
speech =
    3: I'LL vp.base when-short.will
    2: WE'LL vp.base IF plain.now
    1: HE'LL vp.base
    1: SHE'LL vp.base at-time
    1: THEY'LL vp.base TOO
    1: YOU'LL {o}.base obj.{o} SOON
    3: I'M {a}.ing obj.{a}
    2: THEY'RE {a}.ing THEIR {a}.pl at-place
    1: THEY'RE degree-adj
    1: THERE THEY'RE {a}.ing THEIR {a}.pl
    1: WE'RE {a}.ing obj.{a} when-short.will
    2: YOU'RE degree-adj
    1: HE'S go.ing to-place
    1: SHE'S {a}.ing obj.{a}
    2: IT'S THE adj.for.{o} {o}.sg
    1: IT'S clock ALREADY
    1: IT'S TOO adj.sky TO go.base to-place
    2: I'VE {o}.done obj.{o}
    1: WE'VE {o}.done obj.{o} number TIMES
    2: DON'T {o}.base obj.{o}
    1: LET'S vp.base
    1: THAT'S NOT poss {o}.sg
    2: name SAID YES AND {o}.past obj.{o}
    1: I'D LIKE gift PLEASE
question =
    3: do.{n} subj.{n} vp.base
    3: DID subj.{n} vp.base when-short.past
    2: WILL subj.{n} vp.base when-short.will
    2: WHERE do.{n} subj.{n} {o}.base obj.{o}
    2: WHERE IS np.{o}.sg
    1: WHERE'S poss {o}.sg
    1: WHERE ARE poss {o}.pl
    2: WHO {o}.past obj.{o}
    2: WHY DID subj.{n} vp.base
    2: HOW MANY {o}.pl DID subj.{n} {o}.base
    2: HOW MUCH IS THE food.mass
    1: HOW MUCH DO THE food.pl COST
    2: WHICH {o}.sg DID subj.{n} {o}.base
    1: WHAT TIME DOES THE vehicle.sg LEAVE town
    1: WHAT'S THE WEATHER LIKE IN town
    2: CAN YOU vp.base PLEASE
    1: MAY I vp.base
    1: SHALL WE vp.base at-time
    1: have.{n} subj.{n} {o}.done obj.{o}
    1: DO YOU KNOW WHETHER plain.past
    1: WHOSE {i}.sg IS THIS
command =
    4: PLEASE vp.base
    2: vp.base when-short.will
    3: {o}.base obj.{o} BEFORE plain.now
    2: NEVER {o}.base obj.{o} at-time
    1: give.base dative gift AND go.base to-place
    2: TURN LEFT AT THE place.sg AND RIGHT AT THE land.sg
    1: GO STRAIGHT TO THE place.sg
    1: go.base to-place AND {o}.base obj.{o}
    1: WAIT HERE UNTIL plain.now
    1: SIT DOWN AND food.base mass.food
passive =
    3: THE {o}.sg WAS {o}.done by-whom
    2: THE {o}.pl WERE {o}.done by-whom
    2: poss {o}.sg HAS BEEN {o}.done
    2: poss {o}.sg MUST BE {o}.done at-time
    1: number {o}.pl WERE {o}.done when-short.past
    1: THE {o}.sg WILL BE {o}.done when-short.will
by-whom = 3: BY THE person.sg | 2: BY name | 2: when-short.past | 1: BY kin-of
sky =
    3: IT rains.past at-where
    2: IT rains.sg when-short.now
    2: THE sky.mass shine.past at-time
    2: IT WAS A adj.sky part IN town
    2: IT WILL BE adj.sky AND adj.sky when-short.will
    2: THE WEATHER IN town IS degree adj.sky when-short.now
    2: THE WIND BLEW OVER THE land.sg for-time
    1: THE SUN ROSE OVER THE land.sg at-time
    1: THE SUN SHONE THROUGH THE furniture.sg
    1: THE sky.mass shine.past AND plain.past
    1: THERE WAS sky.mass AND sky.mass NEAR town when-short.past
    1: THE TIDE TURNED at-time
rains.past = 4: RAINED | 2: SNOWED | 1: HAILED | 1: DRIZZLED
rains.sg = 4: RAINS | 2: SNOWS | 1: DRIZZLES
exists =
    3: THERE IS A adj.for.{o} {o}.sg at-place
    2: THERE ARE number {o}.pl at-place
    2: THERE WAS A {o}.sg UNDER THE furniture.sg
    1: THERE WERE hundreds {o}.pl at-place
    1: THERE ISN'T ANY food.mass IN THE room.sg
    1: THERE IS A HOLE IN poss clothes.sg
    1: THERE WILL BE A idea.sg when-short.will
state =
    2: THE {i}.sg IS adj.state
    2: poss clothes.pl WERE degree adj.colour
    2: THE {i}.pl ARE adj.colour
    1: poss kin.sg KNOWS A person.sg IN town
    1: THE BEST person.sg IN town IS adj.mood
    1: poss kin.sg IS number YEARS adj.age
    2: poss vehicle.sg IS PARKED at-place
    1: name AND poss animal.sg LIVE IN A adj.place place.sg
    1: THE food.mass TASTES degree adj.food
    1: THE food.mass TASTED LIKE stuff.mass
price =
    3: A {c}.sg COSTS for-much at-place
    2: THE {c}.pl COST for-much EACH
    2: subj.{n} bought np.{c}.sg for-price
    1: subj.{n} WON for-much AND BOUGHT A {c}.sg
    2: number food.pl AND number food.pl MAKE for-much
    1: THE FARE TO town IS for-much
    1: THE person.sg PAID FOR THE {c}.sg AND LEFT
    1: THE parcel.sg WEIGHS number POUNDS
date =
    3: THE idea.sg IS ON day AT clock
    2: THE place.sg IN town OPENS AT clock ON day
    2: name WAS BORN IN town ON the-date
    2: THE place.sg WAS BUILT IN year
    1: TODAY IS day the-date
    2: THE vehicle.sg TO town LEAVES AT clock
    1: THE vehicle.pl FROM town ARRIVE AT clock AND AT clock
    1: THE NIGHT SHIFT STARTS AT clock AND ENDS AT clock
    1: IN season WE go.base to-place
    1: WE HAVEN'T SEEN name SINCE year
compare =
    2: THE {i}.sg IS adj.more THAN THE {i}.sg
    2: subj.{n} {o}.past adj.few {o}.pl THAN name
    1: town IS adj.more THAN town
    1: AS adj.colour AS A food.sg AND AS adj.thing AS A animal.sg
    1: name CAN rest.base AS how AS A animal.sg
    1: subj.{n} LIKED THE adj.colour {c}.sg AND NOT THE adj.colour ONE
    1: NEITHER name NOR name {o}.past obj.{o}
exclaim =
    2: WHAT A adj.for.{o} {o}.sg
    1: HOW adj.mood YOU ARE
    1: GOOD MORNING title.he surname
    1: THANK YOU FOR THE {i}.pl
    1: HELLO name DO YOU {o}.base obj.{o}
    1: NO I DON'T {o}.base food.mass AND NEITHER DOES name
    1: GOOD BYE AND COME AGAIN when-short.will
    1: WELL DONE name
"""

VERB_PHRASES = """
vp.{t}.{n} =
    12: fin.{t}.{n}.{o} obj.{o} | 2: fin.{t}.{n}.{o} obj.{o} at-place | 2: fin.{t}.{n}.{o} obj.{o} how |
    1: fin.{t}.{n}.{o} obj.{o} TOO | 6: fin.{t}.{n}.go to-place | 2: fin.{t}.{n}.go to-place by |
    1: fin.{t}.{n}.go to-place TO {o}.base obj.{o} | 5: fin.{t}.{n}.rest at-place | 2: fin.{t}.{n}.rest how |
    2: fin.{t}.{n}.rest for-time | 3: fin.{t}.{n}.give gift TO dative | 3: fin.{t}.{n}.give dative gift |
    4: fin.{t}.{n}.try TO vp.base | 2: fin.{t}.{n}.paper np.paper.{k} about |
    2: fin.{t}.{n}.food obj.food WITH mass.food | 1: fin.{t}.{n}.furniture obj.furniture WITH A tool.sg |
    1: fin.{t}.{n}.parcel obj.parcel to-place
vp.past.{n} =
    1: bought number {c}.pl for-price | 1: bought np.{c}.sg for-price | 3: say.past THAT plain.past |
    2: was.{n} degree-adj | 1: was.{n} adj.mood BECAUSE plain.past | 2: {a}.past obj.{a} AND {o}.past obj.{o}
bought = 3: BOUGHT | 2: SOLD
vp.now.{n} =
    1: have.{n} NO food.mass | 2: is.{n} degree-adj | 1: say:{n} THAT plain.will |
    2: have.{n} ONE kin.sg AND number animal.pl
vp.will.{n} = 1: BE degree-adj when-short.will
vp.base =
    6: {o}.base obj.{o} | 1: {o}.base obj.{o} how | 2: go.base to-place | 1: rest.base at-place |
    1: give.base dative gift | 1: {i}.base IT
degree-adj = 3: adj.mood | 2: degree adj.mood | 1: TOO adj.mood TO rest.base
fin.past.{n}.{v} =
    12: {v}.past | 1: HAD {v}.done | 1: DIDN'T {v}.base | 1: often {v}.past | 1: how {v}.past |
    1: COULDN'T {v}.base
fin.past.{n}.{a} = 2: was.{n} {a}.ing
fin.now.{n}.{v} =
    6: {v}:{n} | 1: often {v}:{n} | 2: have.{n} {v}.done | 1: do-not.{n} {v}.base | 2: modal {v}.base
fin.now.{n}.{a} = 5: is.{n} {a}.ing
fin.will.{n}.{v} = 6: WILL {v}.base | 1: WON'T {v}.base | 1: MIGHT {v}.base
fin.will.{n}.{a} = 2: is.{n} GOING TO {a}.base
modal = CAN | CAN'T | MUST | SHOULD | WOULD | MAY | COULD | SHOULDN'T | WOULDN'T
was.sg = 4: WAS | 1: WASN'T
was.me = 4: WAS | 1: WASN'T
was.pl = 4: WERE | 1: WEREN'T
is.sg = 4: IS | 1: ISN'T
is.pl = 4: ARE | 1: AREN'T
is.me = AM
have.sg = HAS
have.pl = HAVE
have.me = HAVE
do-not.sg = DOESN'T
do-not.pl = DON'T
do-not.me = DON'T
roams.past.{k} =
    4: roam.past at-place | 2: was.{k} roam.ing at-place | 2: roam.past how | 2: animal.past obj.animal |
    1: ATE mass.food | 1: go.past to-place
roams.past.sg = 1: CHASED ITS OWN TAIL at-place | 1: WAGGED ITS TAIL | 1: BURIED ITS BONE by-thing
by-thing = BY THE plant.sg | UNDER THE furniture.sg
roams.now.{k} =
    4: roam:{k} at-place | 1: often roam:{k} at-place | 2: is.{k} roam.ing at-place | 1: have.{k} roam.done how
roams.will.{k} = 2: WILL roam.base at-place | 1: WON'T roam.base
rolls.past.{k} = 4: roll.past at-place | 3: roll.past at-time | 1: had.late
rolls.now.{k} = 4: roll:{k} at-time | 2: is.{k} number MINUTES LATE | 2: roll:{k} at-place when-short.now
rolls.will.{k} = 3: WILL roll.base at-time | 1: WILL roll.base when-short.will | 1: WILL BE number MINUTES LATE
had.late = HAD TO WAIT for-time
runs.past.{k} = 3: IN THE room.sg run.past | 2: run.past how | 2: run.past at-time | 1: was.{k} run.ing AGAIN
runs.now.{k} = 2: IN THE room.sg do-not.{k} WORK | 2: run:{k} when-short.now | 1: have.{k} run.done AGAIN
runs.will.{k} = WILL run.base SOON | MIGHT run.base when-short.will
do.sg = DOES
do.pl = DO
do.me = DO
"""
