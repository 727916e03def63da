//! Random messages of owners that compare their copies.

use crate::random::Random;
use crate::values::{entry, key, member, topology};
use embergrid::types::comparing::{
    Compare, Compared, ComparedAt, Difference, Differs, Held, Holds, Verified,
};

fn at(random: &mut Random) -> ComparedAt {
    ComparedAt {
        stream: topology(random),
        counter: random.number(),
        values: random.coin(),
    }
}

pub fn compare(random: &mut Random) -> Compare {
    Compare {
        at: at(random),
        sum: random.number(),
        answer: random.coin(),
    }
}

pub fn compared(random: &mut Random) -> Compared {
    Compared {
        at: at(random),
        sums: random.several(9, Random::number),
    }
}

pub fn holds(random: &mut Random) -> Holds {
    Holds {
        at: at(random),
        parts: random.small(),
        picked: random.several(9, Random::small),
        states: random.several(4, |random| (key(random), random.number())),
        bare: random.coin(),
    }
}

pub fn differs(random: &mut Random) -> Differs {
    Differs {
        at: at(random),
        entries: random.several(4, |random| (key(random), random.number(), entry(random))),
        missing: random.several(4, key),
        more: random.coin(),
    }
}

fn held(random: &mut Random) -> Held {
    let version = random.number().max(1);
    match random.below(3) {
        0 => Held::Nothing,
        1 => Held::Tombstone { version },
        _ => Held::Value {
            version,
            sum: random.number(),
        },
    }
}

pub fn verified(random: &mut Random) -> Verified {
    Verified {
        copies: random.small(),
        keys: random.number(),
        repaired: random.number(),
        some: random.several(3, |random| Difference {
            key: key(random),
            held: random.several(3, |random| (member(random), held(random))),
        }),
    }
}
