//! Frames: an eight byte header and a body.
//!
//! ```text
//! 0      2         3      4             8
//! magic  version   kind   length (LE)   body, `length` bytes
//! ```
//!
//! The length is checked before anything is allocated. A frame that breaks a rule poisons its stream: the
//! decoder gives the error once more for every further call, since where the next frame begins is unknown.

/// Largest frame, header and body together, on any control, sample or order stream.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Length of a frame's header.
pub const HEADER_BYTES: usize = 8;
/// Largest body.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

const MAGIC: [u8; 2] = [0xCA, 0x3B];

/// One frame as it came off a stream; its body is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Protocol version of the body.
    pub version: u8,
    /// Which message the body is, in that version.
    pub kind: u8,
    /// The encoded message.
    pub body: Vec<u8>,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The stream does not speak this protocol, or lost its place.
    #[error("no frame here: found {found:02x?} where every frame begins with ca 3b")]
    Magic {
        /// The two bytes found.
        found: [u8; 2],
    },
    /// The body would be longer than a frame may be.
    #[error("frame of kind {kind} claims {length} bytes, {BODY_BYTES_MAX} is the most")]
    TooLong {
        /// Kind of the frame.
        kind: u8,
        /// Length it claims.
        length: usize,
    },
    /// The stream ended inside a frame.
    #[error("stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// At least so many bytes were still to come.
        missing: usize,
    },
}

/// Header and body as one buffer.
///
/// # Errors
/// When the body is longer than a frame may be.
pub fn encode(version: u8, kind: u8, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > BODY_BYTES_MAX {
        return Err(FrameError::TooLong { kind, length: body.len() });
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[version, kind]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins; what is before it has been given out.
    start: usize,
    poisoned: Option<FrameError>,
}

impl FrameDecoder {
    /// Adds what came off the stream. Callers read at most a frame's worth at a time and drain [`Self::next`]
    /// in between, so the buffer stays below two frames.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > FRAME_BYTES_MAX {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or none until more bytes come.
    ///
    /// # Errors
    /// When the bytes are no frame; from then on always.
    #[expect(clippy::should_implement_trait, reason = "fallible, and not at its end when it has nothing")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.poisoned {
            return Err(error.clone());
        }
        let available = &self.buffer[self.start..];
        match parse(available) {
            Ok(Some((frame, used))) => {
                self.start += used;
                if self.start == self.buffer.len() {
                    // An idle stream holds no memory: agents are many and mostly idle.
                    self.buffer = Vec::new();
                    self.start = 0;
                }
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.buffer = Vec::new();
                self.start = 0;
                self.poisoned = Some(error.clone());
                Err(error)
            }
        }
    }

    /// How many bytes the frame that [`Self::next`] waits for still lacks, as far as that is known: those of its header,
    /// then those of its body. For whoever must not read behind it. Never more than [`FRAME_BYTES_MAX`], once `next` has
    /// looked at the header.
    pub fn missing(&self) -> usize {
        match &self.buffer[self.start..] {
            [_, _, _, _, a, b, c, d, body @ ..] => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                length.saturating_sub(body.len())
            }
            header => HEADER_BYTES - header.len(),
        }
    }

    /// Tells that the stream ended.
    ///
    /// # Errors
    /// When it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.start == self.buffer.len() {
            return Ok(());
        }
        Err(FrameError::Truncated { missing: self.missing() })
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Err(FrameError::Magic { found: [bytes[0], bytes.get(1).copied().unwrap_or_default()] });
    }
    let &[_, _, version, kind, a, b, c, d, ref rest @ ..] = bytes else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > BODY_BYTES_MAX {
        return Err(FrameError::TooLong { kind, length });
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((Frame { version, kind, body: body.to_vec() }, HEADER_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_read_to_its_last_byte_and_not_behind() {
        for length in [0, 1, 300, BODY_BYTES_MAX] {
            let mut stream = encode(1, 2, &vec![7; length]).unwrap();
            stream.extend_from_slice(b"content");
            let (mut rest, mut decoder) = (stream.as_slice(), FrameDecoder::default());
            let frame = loop {
                if let Some(frame) = decoder.next().unwrap() {
                    break frame;
                }
                let (wanted, behind) = rest.split_at(decoder.missing());
                decoder.push(wanted);
                rest = behind;
            };
            assert_eq!((frame.body.len(), rest), (length, b"content".as_slice()));
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
            cut in 1_usize..64,
        ) {
            let mut stream = Vec::new();
            for (kind, body) in bodies.iter().enumerate() {
                stream.extend(encode(1, u8::try_from(kind).unwrap(), body).unwrap());
            }
            let mut decoder = FrameDecoder::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    found.push(frame.body);
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_from_the_header_alone() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0xCA, 0x3B, 1, 7, 0xff, 0xff, 0xff, 0xff]);
        let error = FrameError::TooLong { kind: 7, length: 0xffff_ffff };
        assert_eq!(decoder.next(), Err(error.clone()));
        decoder.push(&encode(1, 1, b"fine").unwrap());
        assert_eq!(decoder.next(), Err(error), "a poisoned stream stays poisoned");
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_bytes() {
        let mut decoder = FrameDecoder::default();
        decoder.push(b"GE");
        assert_eq!(decoder.next(), Err(FrameError::Magic { found: *b"GE" }));
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_says_how_much_is_missing() {
        let whole = encode(1, 1, &[0; 10]).unwrap();
        let mut decoder = FrameDecoder::default();
        decoder.push(&whole[..12]);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { missing: 6 }));
    }
}
