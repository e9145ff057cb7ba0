//! Packets of the MySQL protocol in a stream of bytes.
//!
//! Pure: bytes in, packets out.

/// A packet of this payload length is continued by the next.
pub(super) const FULL: usize = 0xff_ff_ff;
/// The payload's length (3 bytes), and the place in the sequence.
pub(super) const HEADER: usize = 4;

/// One packet as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) raw: Vec<u8>,
}

impl Packet {
    pub(super) fn payload(&self) -> &[u8] {
        &self.raw[HEADER..]
    }

    pub(super) fn sequence(&self) -> u8 {
        self.raw[3]
    }

    pub(super) fn is_continued(&self) -> bool {
        self.payload().len() == FULL
    }
}

/// What has been received from one side and not passed on.
#[derive(Debug, Default)]
pub(super) struct Received {
    buffer: Vec<u8>,
    taken: usize,
}

impl Received {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn next(&mut self) -> Option<Packet> {
        let rest = &self.buffer[self.taken..];
        let length = HEADER + number(rest, 0, 3)? as usize;
        let raw = rest.get(..length)?.to_vec();
        self.taken += length;
        Some(Packet { raw })
    }

    /// All that is left, whole packets or not.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let rest = self.buffer[self.taken..].to_vec();
        self.buffer.clear();
        self.taken = 0;
        rest
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len() - self.taken
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Counts packets without waiting for whole ones.
#[derive(Debug, Default)]
pub(super) struct Framer {
    header: [u8; HEADER],
    /// How much of the header is there.
    have: usize,
    /// How much of the payload is missing.
    missing: usize,
}

impl Framer {
    /// How many packets end in these bytes.
    pub(super) fn complete(&mut self, mut bytes: &[u8]) -> u64 {
        let mut packets = 0;
        while !bytes.is_empty() {
            if self.have < HEADER {
                let taken = bytes.len().min(HEADER - self.have);
                self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < HEADER {
                    break;
                }
                self.missing = number(&self.header, 0, 3).unwrap_or(0) as usize;
            }
            let taken = bytes.len().min(self.missing);
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                packets += 1;
                self.have = 0;
            }
        }
        packets
    }
}

/// A little-endian number of `length` bytes.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(any(test, fuzzing))]
pub(super) fn packet(sequence: u8, payload: &[u8]) -> Packet {
    let length = (payload.len() as u32).to_le_bytes();
    Packet { raw: [&length[..3], &[sequence], payload].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_packets_wherever_it_was_split() {
        let stream = [packet(0, b"one").raw, packet(1, b"").raw, packet(2, &[7; 300]).raw].concat();
        for split in 0..stream.len() {
            let mut packets = Received::default();
            let mut found = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                packets.feed(part);
                found.extend(std::iter::from_fn(|| packets.next()));
            }
            assert_eq!(found, [packet(0, b"one"), packet(1, b""), packet(2, &[7; 300])], "split at {split}");
            assert!(packets.rest().is_empty());
        }
    }

    #[test]
    fn packets_are_counted_wherever_the_stream_is_split() {
        let stream = [3, 0, 0, 0, 1, 2, 3, 0, 0, 0, 1, 1, 0, 0, 2, 9];
        for split in 0..=stream.len() {
            let mut framer = Framer::default();
            assert_eq!(framer.complete(&stream[..split]) + framer.complete(&stream[split..]), 3, "split at {split}");
        }
    }
}
