//! What comes back of a call on HTTP/2.

use h2::RecvStream;
use prost::bytes::BytesMut;

/// Reads a body to its end.
pub(super) async fn whole(body: &mut RecvStream) -> Result<BytesMut, h2::Error> {
    let mut received = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    Ok(received)
}
