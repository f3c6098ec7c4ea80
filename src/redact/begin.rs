//! Where a secret may begin: a text is looked at closely only there.

use super::shapes::{SHAPES, Shape};

/// Three bytes that stand where a secret may begin. Each kind of beginning has a bit, set for every byte that may come
/// first in it, second, and third.
pub(super) struct Begins {
    sets: [[u64; 4]; 256],
    /// The bit of what begins with this byte and has a shape.
    shapes: [u64; 256],
    bits: u32,
}

/// What tells of a secret beside its shape: sets of first and of second bytes.
const TELLS: [[&[u8]; 2]; 6] = [
    [b"-", b"-"],
    [b":", b"/\\"],
    [b"e", b"y"],
    [b"bB", b"aAeE"],
    // What the name of a secret ends with, and what stands before its value.
    [b"cdeghklnrstyCDEGHKLNRSTY", b"=:>"],
    [b"\"'`\\] \t0123456789", b"=:"],
];

pub(super) static BEGINS: Begins = {
    let mut begins = Begins { sets: [[0; 4]; 256], shapes: [0; 256], bits: 0 };
    let mut i = 0;
    while i < SHAPES.len() {
        let mut n = 0;
        while n < SHAPES[i].prefixes.len() {
            begins = begins.with_prefix(SHAPES[i].prefixes[n].as_bytes());
            n += 1;
        }
        i += 1;
    }
    let mut i = 0;
    while i < TELLS.len() {
        let bit = 1 << begins.bits;
        begins = begins.with(TELLS[i][0], 0, bit).with(TELLS[i][1], 1, bit).with(&[], 2, bit);
        begins.bits += 1;
        i += 1;
    }
    begins
};

impl Begins {
    const fn with_prefix(mut self, prefix: &[u8]) -> Self {
        let first = prefix[0] as usize;
        if self.shapes[first] == 0 {
            self.shapes[first] = 1 << self.bits;
            self.bits += 1;
        }
        let bit = self.shapes[first];
        let (two, rest) = prefix.split_at(2);
        let third = if rest.is_empty() { rest } else { rest.split_at(1).0 };
        self.with(two.split_at(1).0, 0, bit).with(two.split_at(1).1, 1, bit).with(third, 2, bit)
    }

    /// With a bit for these bytes at this place; for any byte where there are none.
    const fn with(mut self, bytes: &[u8], place: usize, bit: u64) -> Self {
        let mut i = 0;
        while i < if bytes.is_empty() { 256 } else { bytes.len() } {
            self.sets[if bytes.is_empty() { i } else { bytes[i] as usize }][place] |= bit;
            i += 1;
        }
        self
    }

    /// The next place where a secret may begin.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let (mut one, mut two) = (0, 0);
        let mut step = |b: u8| {
            let [first, second, third, _] = self.sets[usize::from(b)];
            let begun = two & third;
            (two, one) = (one & second, first);
            begun
        };
        let mut at = from;
        while let Some(next) = bytes.get(at..at + 4) {
            let begun = [step(next[0]), step(next[1]), step(next[2]), step(next[3])];
            if begun[0] | begun[1] | begun[2] | begun[3] != 0 {
                return begun.iter().position(|begun| *begun != 0).map(|i| at + i - 2);
            }
            at += 4;
        }
        bytes.get(at..)?.iter().position(|b| step(*b) != 0).map(|i| at + i - 2)
    }
}

/// How many prefixes there are.
const PREFIX_COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < SHAPES.len() {
        count += SHAPES[i].prefixes.len();
        i += 1;
    }
    count
};

/// The prefixes of all shapes, in the order of their first bytes: those that begin with `b` stand from `starts[b]` to
/// `starts[b + 1]`.
pub(super) struct Prefixes {
    /// Each as its shape's number and its own in it.
    all: [(u8, u8); PREFIX_COUNT],
    starts: [u8; 257],
}

pub(super) static PREFIXES: Prefixes = {
    let mut prefixes = Prefixes { all: [(0, 0); PREFIX_COUNT], starts: [0; 257] };
    let (mut first, mut count) = (0, 0);
    while first < 256 {
        prefixes.starts[first] = count;
        let mut i = 0;
        while i < SHAPES.len() {
            let mut n = 0;
            while n < SHAPES[i].prefixes.len() {
                if SHAPES[i].prefixes[n].as_bytes()[0] as usize == first {
                    prefixes.all[count as usize] = (i as u8, n as u8);
                    count += 1;
                }
                n += 1;
            }
            i += 1;
        }
        first += 1;
    }
    prefixes.starts[256] = count;
    prefixes
};

impl Prefixes {
    /// The shapes that a text begins with, each with its prefix's length.
    pub(super) fn beginning(&self, text: &[u8]) -> impl Iterator<Item = (&'static Shape, usize)> {
        let first = text.first().map_or(0, |b| usize::from(*b));
        let range = usize::from(self.starts[first])..usize::from(self.starts[first + 1]);
        self.all[range].iter().filter_map(move |(shape, n)| {
            let shape = &SHAPES[usize::from(*shape)];
            let prefix = shape.prefixes[usize::from(*n)].as_bytes();
            (text.get(1) == prefix.get(1) && text.starts_with(prefix)).then_some((shape, prefix.len()))
        })
    }
}
