//! Packets in a byte stream: two bytes of length, big-endian, and the packet.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest packet. More than a network's packets, so that bulk costs fewer of them; little enough that an endpoint's
/// buffers stay small.
pub const PACKET_BYTES_MAX: u16 = 4096;

/// The packet with its header; none when it is no packet's length.
pub(crate) fn framed(packet: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(packet.len()).ok().filter(|length| (1..=PACKET_BYTES_MAX).contains(length))?;
    let mut frame = Vec::with_capacity(2 + packet.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(packet);
    Some(frame)
}

/// The next packet; none at the end of the stream.
///
/// # Errors
/// When the stream breaks off inside a packet, or claims one that is empty or too long; nothing of that is read.
pub(crate) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 2];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let length = u16::from_be_bytes(header);
    if !(1..=PACKET_BYTES_MAX).contains(&length) {
        let text = format!("a packet of {length} bytes; there are 1 to {PACKET_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn all(mut bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        while let Some(packet) = read(&mut bytes).await? {
            packets.push(packet);
        }
        Ok(packets)
    }

    fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5000), 0..4),
        ) {
            let (fits, too_long): (Vec<_>, Vec<_>) =
                packets.into_iter().partition(|packet| packet.len() <= usize::from(PACKET_BYTES_MAX));
            prop_assert!(too_long.iter().all(|packet| framed(packet).is_none()));
            let bytes: Vec<u8> = fits.iter().flat_map(|packet| framed(packet).unwrap()).collect();
            prop_assert_eq!(block(all(&bytes)).unwrap(), fits);
        }

        #[test]
        fn garbage_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            if let Ok(packets) = block(all(&bytes)) {
                prop_assert!(packets.iter().all(|packet| packet.len() <= usize::from(PACKET_BYTES_MAX)));
            }
        }
    }

    #[test]
    fn a_length_that_is_none_ends_the_stream_before_it_is_read() {
        for length in [0, PACKET_BYTES_MAX + 1, u16::MAX] {
            let error = block(all(&length.to_be_bytes())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
        let cut = block(all(&[0, 4, 1, 2])).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
