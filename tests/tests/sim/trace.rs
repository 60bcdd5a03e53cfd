//! What happened, as a hash, and as lines when somebody looks.

/// Everything that happened so far.
#[derive(Default)]
pub(crate) struct Trace {
    hash: u64,
    is_shown: bool,
}

impl Trace {
    pub(crate) const fn new(is_shown: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, is_shown }
    }

    /// Takes in one happening: when, what kind, and two numbers of it.
    pub(crate) fn note(&mut self, now: u64, what: &'static str, who: usize, detail: u64) {
        let text = what.bytes().fold(0_u64, |hash, byte| hash.rotate_left(5) ^ u64::from(byte));
        for number in [now, text, who as u64, detail] {
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
        if self.is_shown {
            println!("{now:>7} {what:<24} {who:>3} {detail:x}");
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}
