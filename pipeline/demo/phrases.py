"""The grammar of the synthetic corpus, continued: who and what, how many and how much, when and where.

Knows nothing of whole sentences or of verbs; the notation is that of `templates`.
"""

NOUN_PHRASES = """
subj.sg =
    6: name | 5: the.person.sg | 3: kin-of | 7: HE | 7: SHE | 1: WHOEVER LIVES HERE | 2: the.person.sg who |
    1: the.person.sg from-town | 1: EVERYBODY | 1: ONE OF quant-the person.pl
subj.pl =
    3: the.person.pl | 4: THEY | 4: WE | 3: YOU | 2: name AND name | 1: name AND I | 1: name AND kin-of |
    1: the.person.pl who-all | 1: BOTH poss relatives | 1: MY kin.sg AND I
subj.me = I
name = 8: {g} | 3: {g} surname | 1: title.he surname | 1: title.she surname
title.he = 4: MISTER | 1: DOCTOR | 1: CAPTAIN | 1: SERGEANT | 1: PROFESSOR
title.she = 3: MISSUS | 2: MISS | 1: DOCTOR | 1: INSPECTOR | 1: LADY
relatives = SONS | DAUGHTERS | SISTERS | BROTHERS | AUNTS | UNCLES | COUSINS | FRIENDS
who =
    WHO {o}.past obj.{o} | WHO {o}:sg obj.{o} | WHOM WE person.past at-place | WITH THE adj.colour clothes.sg |
    WHO go.past to-place
who-all = WHO {o}.past obj.{o} | WHO rest.base at-place
kin-of = 5: poss kin.sg | 1: poss adj.person kin.sg | 1: {g}'S kin.sg
poss =
    5: MY | 3: YOUR | 4: HIS | 4: HER | 3: OUR | 3: THEIR | 3: {g}'S | 2: THE person.sg'S | 1: MY kin.sg'S |
    1: SOMEBODY'S
quant-the = THE | OUR | THEIR | THOSE | THESE
obj.{o} = 6: np.{o}.sg | 4: np.{o}.pl
obj.food = 5: mass.food
obj.tool = 1: some.stuff
obj.parcel = 1: some.stuff
obj.person = 4: name | 6: HIM | 6: HER | 3: THEM | 4: US | 4: ME | 3: YOU | 4: kin-of | 1: the.person.sg who
np.{o}.sg =
    6: THE {o}.sg | 5: A {o}.sg | 3: poss {o}.sg | 2: THIS {o}.sg | 1: THAT {o}.sg | 3: A adj.for.{o} {o}.sg |
    3: THE adj.for.{o} {o}.sg | 1: poss adj.for.{o} {o}.sg | 1: ANOTHER {o}.sg | 1: THE {o}.sg that |
    1: THE WRONG {o}.sg | 1: THE RIGHT {o}.sg
np.{o}.pl =
    4: THE {o}.pl | 3: number {o}.pl | 2: poss {o}.pl | 2: SOME {o}.pl | 1: THOSE {o}.pl | 1: THESE {o}.pl |
    2: THE adj.for.{o} {o}.pl | 1: number adj.for.{o} {o}.pl | 1: A FEW {o}.pl | 1: MANY {o}.pl
np.clothes.pl = 2: A PAIR OF adj.colour clothes.pl
np.plant.pl = 2: number ROWS OF plant.pl | 1: A BUNCH OF plant.pl
np.animal.sg = 1: A MALE animal.male
animal.male = PARROT | PEACOCK | KITTEN | OTTER | OWL
np.food.pl = 1: A BASKET OF food.pl | 1: A POUND OF food.pl | 1: A PAIR OF food.pl
the.{o}.sg = 4: THE {o}.sg | 2: THE adj.for.{o} {o}.sg | 1: A adj.for.{o} {o}.sg | 1: A {o}.sg | 1: poss {o}.sg
the.{o}.pl = 4: THE {o}.pl | 1: THE adj.for.{o} {o}.pl | 1: number {o}.pl | 1: poss {o}.pl
that = 3: THAT {g} person.past AT HOME | 2: IN THE room.sg | 2: FROM town | 2: THAT COST for-much
mass.food = 3: THE food.mass | 3: SOME food.mass | 2: A food.part OF food.mass | 2: adj.food food.mass
some.stuff = 2: THE stuff.mass | 2: SOME stuff.mass | 1: A stuff.part OF stuff.mass | 1: ALL THE stuff.mass
adj.for.{i} = 3: adj.thing | 1: adj.colour | 1: adj.size adj.colour
adj.for.person = adj.person
adj.for.food = adj.food
adj.for.animal = adj.animal
adj.for.idea = adj.idea
adj.size = SMALL | BIG | LITTLE | LONG | LARGE
gift = 3: np.paper.sg | 2: np.parcel.sg | 2: np.food.sg | 1: np.clothes.sg | 2: some.stuff | 1: number coins
dative = 3: ME | 3: HIM | 3: HER | 2: US | 2: THEM | 2: name | 2: THE person.sg | 2: kin-of
adj.age = 3: OLD | 1: OLDER THAN ME
adj.few = MORE | FEWER | TWICE AS MANY
adj.more =
    BIGGER | SMALLER | OLDER | BETTER | CHEAPER | QUIETER | HEAVIER | WORSE | MORE BEAUTIFUL | LESS USEFUL
"""

NUMBERS_AND_TIMES = """
number = 6: digit | 2: teen | 1: tens | 1: tens digit
hundreds = 3: A HUNDRED | 2: digit HUNDRED | 1: digit HUNDRED AND tens digit | 1: digit THOUSAND digit HUNDRED
coins = 4: POUNDS | 1: PENCE | 1: SHILLINGS | 1: DOLLARS | 1: EUROS
for-price = FOR for-much
for-much = 4: number coins | 2: digit POUNDS AND tens PENCE | 1: digit POUNDS tens digit | 1: hundreds coins
clock =
    4: digit O'CLOCK | 2: HALF PAST digit | 2: QUARTER TO digit | 2: QUARTER PAST digit | 1: TWENTY TO digit |
    1: TWENTY FIVE PAST digit | 1: TEN PAST digit | 2: digit THIRTY | 1: MIDNIGHT | 1: NOON | 1: ONE O'CLOCK |
    1: ELEVEN O'CLOCK
at-time = 6: AT clock | 2: BEFORE clock | 1: BETWEEN digit AND digit | 1: AT clock IN THE part | 1: AT NIGHT
part = MORNING | EVENING | AFTERNOON
year =
    4: NINETEEN tens digit | 1: EIGHTEEN tens digit | 2: TWENTY teen | 1: TWO THOUSAND AND digit |
    1: NINETEEN HUNDRED
the-date = 4: THE ordinal OF month | 1: THE TWENTY ordinal.low OF month
ordinal.low = FIRST | SECOND | THIRD | FOURTH | FIFTH | SIXTH | SEVENTH | EIGHTH | NINTH
for-time = FOR number HOURS | FOR A WEEK | FOR HALF AN HOUR | ALL DAY | ALL NIGHT | UNTIL clock
when-short.past =
    4: YESTERDAY | 3: LAST NIGHT | 3: LAST WEEK | 2: number span.pl AGO | 2: ON day | 2: IN month | 2: THIS part |
    1: AN HOUR AGO | 1: IN THE season OF year | 1: ON the-date | 1: IN year | 1: THE OTHER DAY
when-short.now =
    4: EVERY DAY | 3: EVERY day | 2: EVERY part | 2: TODAY | 2: THESE DAYS | 1: TWICE A WEEK | 1: ONCE A YEAR |
    1: EVERY season
when-short.will =
    4: TOMORROW | 3: TONIGHT | 3: NEXT WEEK | 2: NEXT day | 2: ON day | 2: IN number span.pl | 1: ON the-date |
    1: NEXT season
span.pl = HOURS | DAYS | WEEKS | MONTHS | YEARS
when-long.{t} = when-short.{t}
when-long.past = ONE adj.sky part IN month | AFTER number HOURS | DURING THE sky.mass | ON the-date | AT clock
"""

PLACES = """
from-town = FROM town | OF town
to-place =
    5: TO THE place.sg | 3: TO town | 2: TO THE land.sg | 1: TO THE adj.place place.sg | 1: TO poss room.sg |
    1: THROUGH THE land.sg | 1: PAST THE place.sg | 1: ALONG THE land.sg | 1: FROM town TO town |
    1: INTO THE room.sg | 1: HOME | 1: BY THE SEA | 1: UP THE STAIRS
at-place =
    4: AT THE place.sg | 4: IN THE room.sg | 2: IN town | 2: NEAR THE land.sg | 2: BEHIND THE place.sg |
    1: IN THE adj.place place.sg | 1: IN FRONT OF THE place.sg | 1: BY THE land.sg | 1: UNDER THE furniture.sg |
    1: BETWEEN THE place.sg AND THE land.sg | 1: HERE | 1: THERE | 1: AT HOME | 1: ON BOARD THE vehicle.sg
by =
    4: BY vehicle.sg | 1: WITH kin-of | 1: IN A adj.colour vehicle.sg | 1: AT A FAIR PACE | 1: ON FOOT |
    1: ALONE
about = ABOUT np.animal.{k} | ABOUT np.food.{k} | ABOUT THE land.sg | FROM name | ABOUT town
at-where = 2: IN town when-short.past | 1: for-time | 1: WHEN plain.past
"""
