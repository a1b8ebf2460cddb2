//! Decoder of raw LZO1X streams, written from the published description of the stream's instructions.
//!
//! Safe by construction: output is bounded by the announced length, every copy is checked against what was
//! written, and every instruction takes at least one byte of input.

/// Why bytes are no LZO1X stream of the announced length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LzoError {
    /// The stream stops before its end mark.
    #[error("stream ends without end mark")]
    Cut,
    /// A copy reaches back before the first byte.
    #[error("copy reaches back {distance} bytes, only {written} are there")]
    Distance {
        /// Bytes to go back.
        distance: usize,
        /// Bytes of output so far.
        written: usize,
    },
    /// More output than announced.
    #[error("more than the announced {0} bytes come out")]
    TooLong(usize),
    /// Less output than announced.
    #[error("only {0} bytes come out")]
    TooShort(usize),
    /// The end mark is malformed, or bytes follow it.
    #[error("end mark is malformed or followed by {0} bytes")]
    End(usize),
}

/// What the instruction before left behind, which changes the meaning of codes 0 to 15.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// A copy without literals behind it.
    Copy,
    /// A copy with 1 to 3 literals behind it.
    FewLiterals,
    /// A run of at least 4 literals.
    Run,
}

/// Decodes the stream, which must give exactly `length` bytes and end with the last byte of `input`.
pub(super) fn decompress(input: &[u8], length: usize) -> Result<Vec<u8>, LzoError> {
    let mut stream = Stream {
        input,
        out: Vec::with_capacity(length),
        length,
    };
    stream.run()?;
    Ok(stream.out)
}

struct Stream<'i> {
    input: &'i [u8],
    out: Vec<u8>,
    length: usize,
}

/// Length and distance of a copy, and the number of literals behind it.
struct Copy {
    length: usize,
    distance: usize,
    literals: usize,
}

impl Stream<'_> {
    fn run(&mut self) -> Result<(), LzoError> {
        let mut after = After::Copy;
        if let Some(first @ 18..) = self.input.first().copied() {
            // Only the first instruction: a plain number of literals.
            self.byte()?;
            let count = usize::from(first - 17);
            self.literals(count)?;
            after = after_literals(count);
        }
        loop {
            let op = self.byte()?;
            if op < 16 && after == After::Copy {
                let count = self.extended(op, 0x0f)? + 3;
                self.literals(count)?;
                after = After::Run;
                continue;
            }
            let Some(copy) = self.copy_of(op, after)? else {
                return self.end();
            };
            self.copy(copy.length, copy.distance)?;
            self.literals(copy.literals)?;
            after = if copy.literals == 0 {
                After::Copy
            } else {
                After::FewLiterals
            };
        }
    }

    /// The copy that instruction `op` asks for; `None` for the end mark.
    fn copy_of(&mut self, op: u8, after: After) -> Result<Option<Copy>, LzoError> {
        let (length, distance, low) = match op {
            0..=15 => {
                let near = usize::from(op >> 2) + (usize::from(self.byte()?) << 2);
                match after {
                    After::Run => (3, near + 2049, op),
                    After::FewLiterals | After::Copy => (2, near + 1, op),
                }
            }
            16..=31 => {
                let length = self.extended(op, 0x07)? + 2;
                let (word, low) = self.word()?;
                let far = usize::from(op & 0x08) << 11;
                if far + word == 0 {
                    // Distance 16384 would be reachable by the shorter instruction: it marks the end.
                    return if length == 3 {
                        Ok(None)
                    } else {
                        Err(LzoError::End(self.input.len()))
                    };
                }
                (length, 16384 + far + word, low)
            }
            32..=63 => {
                let length = self.extended(op, 0x1f)? + 2;
                let (word, low) = self.word()?;
                (length, word + 1, low)
            }
            64.. => {
                let length = usize::from(op >> 5) + 1;
                let high = usize::from(self.byte()?) << 3;
                (length, high + usize::from((op >> 2) & 0x07) + 1, op)
            }
        };
        Ok(Some(Copy {
            length,
            distance,
            literals: usize::from(low & 0x03),
        }))
    }

    fn end(&self) -> Result<(), LzoError> {
        if !self.input.is_empty() {
            return Err(LzoError::End(self.input.len()));
        }
        if self.out.len() == self.length {
            Ok(())
        } else {
            Err(LzoError::TooShort(self.out.len()))
        }
    }

    fn byte(&mut self) -> Result<u8, LzoError> {
        let (first, rest) = self.input.split_first().ok_or(LzoError::Cut)?;
        self.input = rest;
        Ok(*first)
    }

    /// A little endian word: its upper 14 bits, and its low byte for the literal count.
    fn word(&mut self) -> Result<(usize, u8), LzoError> {
        let low = self.byte()?;
        let high = self.byte()?;
        Ok((usize::from(u16::from_le_bytes([low, high]) >> 2), low))
    }

    /// The number in the bits `mask` of `op`; 0 there means that it goes on in bytes: 255 for each zero byte,
    /// and the first other byte.
    fn extended(&mut self, op: u8, mask: u8) -> Result<usize, LzoError> {
        let mut value = usize::from(op & mask);
        if value > 0 {
            return Ok(value);
        }
        value = usize::from(mask);
        loop {
            let byte = self.byte()?;
            if byte != 0 {
                return Ok(value + usize::from(byte));
            }
            value += 255;
            if value > self.length {
                return Err(LzoError::TooLong(self.length));
            }
        }
    }

    fn literals(&mut self, count: usize) -> Result<(), LzoError> {
        let (now, rest) = self.input.split_at_checked(count).ok_or(LzoError::Cut)?;
        if count > self.length.saturating_sub(self.out.len()) {
            return Err(LzoError::TooLong(self.length));
        }
        self.out.extend_from_slice(now);
        self.input = rest;
        Ok(())
    }

    fn copy(&mut self, length: usize, distance: usize) -> Result<(), LzoError> {
        let written = self.out.len();
        let bad = LzoError::Distance { distance, written };
        let start = written.checked_sub(distance).ok_or(bad)?;
        if length > self.length.saturating_sub(written) {
            return Err(LzoError::TooLong(self.length));
        }
        // Source and target may overlap: what was just written is repeated.
        for at in start..start + length {
            let byte = self.out.get(at).copied().ok_or(bad)?;
            self.out.push(byte);
        }
        Ok(())
    }
}

const fn after_literals(count: usize) -> After {
    if count < 4 {
        After::FewLiterals
    } else {
        After::Run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 3] = [0x11, 0, 0];

    fn stream(parts: &[&[u8]]) -> Vec<u8> {
        let mut all = parts.concat();
        all.extend(END);
        all
    }

    #[test]
    fn every_instruction_means_what_the_table_says() {
        let text = b"abcdefgh";
        let eight = [&[17 + 8], &text[..]].concat();
        // 010DDDSS: 3 bytes, distance 8; then 1 literal.
        let out = decompress(&stream(&[&eight, &[0x40 | 7 << 2 | 1, 0, b'X']]), 12);
        assert_eq!(out.unwrap(), b"abcdefghabcX");
        // After 1 to 3 literals 0000DDSS copies 2 bytes, distance 1 + DD + 4 H.
        let few = stream(&[&eight, &[0x40 | 7 << 2 | 1, 0, b'X', 0, 0]]);
        assert_eq!(decompress(&few, 14).unwrap(), b"abcdefghabcXXX");
        // 1LLDDDSS: 5 + LL bytes, distance 1: overlapping.
        let out = decompress(&stream(&[&eight, &[0x80 | 3 << 5, 0]]), 16);
        assert_eq!(out.unwrap(), b"abcdefghhhhhhhhh");
        // 001LLLLL: 2 + L bytes, or 33 + extension.
        let out = decompress(&stream(&[&eight, &[0x20 | 2, 4 << 2, 0]]), 12);
        assert_eq!(out.unwrap(), b"abcdefghdefg");
        let out = decompress(&stream(&[&eight, &[0x20, 0, 5, 0, 0]]), 8 + 33 + 255 + 5);
        assert_eq!(out.unwrap()[8..], [b'h'; 293]);
        // After a copy without literals, 0000LLLL begins a run of 3 + L literals.
        let run = stream(&[&eight, &[0x40, 0, 1], b"wxyz"]);
        assert_eq!(decompress(&run, 15).unwrap(), b"abcdefghhhhwxyz");
        let long = stream(&[&[0, 2], &[b'q'; 20]]);
        assert_eq!(decompress(&long, 20).unwrap(), [b'q'; 20]);
    }

    #[test]
    fn far_distances_are_reached() {
        let literals: Vec<u8> = (0..18_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        // 3 + 15 + 255 * 70 + 132 = 18000
        let mut run = vec![0];
        run.extend([0; 70]);
        run.push(132);
        run.extend(&literals);
        // 3 bytes, distance 2049 + 1 + 4: only behind a run.
        let near = stream(&[&run, &[1 << 2, 1]]);
        let out = decompress(&near, 18_003).unwrap();
        assert_eq!(out[18_000..], literals[18_000 - 2054..][..3]);
        // 0001HLLL: 2 + 5 bytes, distance 16384 + 1.
        let far = stream(&[&run, &[0x10 | 5, 1 << 2, 0]]);
        let out = decompress(&far, 18_007).unwrap();
        assert_eq!(out[18_000..], literals[18_000 - 16_385..][..7]);
        let too_far = stream(&[&run, &[0x18 | 5, 0, 0]]);
        assert_eq!(
            decompress(&too_far, 18_007),
            Err(LzoError::Distance {
                distance: 32_768,
                written: 18_000
            })
        );
    }

    #[test]
    fn bad_streams_are_refused() {
        assert_eq!(decompress(&END, 0).unwrap(), b"");
        assert_eq!(decompress(&[], 0), Err(LzoError::Cut));
        assert_eq!(decompress(&END, 1), Err(LzoError::TooShort(0)));
        let four = [21, 1, 2, 3, 4];
        assert_eq!(decompress(&four, 4), Err(LzoError::Cut));
        assert_eq!(decompress(&stream(&[&four]), 3), Err(LzoError::TooLong(3)));
        let mut behind = stream(&[&four]);
        behind.push(0);
        assert_eq!(decompress(&behind, 4), Err(LzoError::End(1)));
        assert_eq!(
            decompress(&stream(&[&[0; 400]]), 300),
            Err(LzoError::TooLong(300))
        );
    }
}
