//! The source of randomness: the same seed gives the same input on every machine.

/// A seeded generator (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A place in a list of this length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// A number of any magnitude, the edges among them.
    pub fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next(),
            _ => {
                let bits = self.below(64);
                self.next() >> bits
            }
        }
    }

    pub fn small(&mut self) -> u32 {
        u32::try_from(self.number() & u64::from(u32::MAX)).unwrap()
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.coin().then(|| make(self))
    }

    /// Up to `most` of them.
    pub fn several<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.place(from.len())].clone()
    }

    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        self.several(most, |random| random.next().to_le_bytes()[0])
    }

    /// Text of at least one character, at most four bytes each.
    pub fn text(&mut self, most: u64) -> String {
        let count = 1 + self.below(most.max(1));
        (0..count)
            .map(|_| self.pick(&['a', 'Z', '0', '-', '.', 'ü', '☃', '🔥']))
            .collect()
    }
}

/// Runs a property over many seeds and says how many.
pub fn for_each_seed(name: &str, mut property: impl FnMut(u64, &mut Random)) {
    let set = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let inputs = set("EMBERGRID_FUZZ").unwrap_or(2_000);
    let first = set("EMBERGRID_SEED").unwrap_or(1);
    for seed in (0..inputs).map(|input| first.wrapping_add(input)) {
        let mut random = Random::new(seed);
        let _told = Told { name, seed };
        property(seed, &mut random);
    }
    println!("{name}: {inputs} inputs from seed {first}");
}

/// Names the seed of the input that panicked.
struct Told<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{} failed: EMBERGRID_SEED={} EMBERGRID_FUZZ=1",
                self.name, self.seed
            );
        }
    }
}
