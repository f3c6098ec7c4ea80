//! A streamed JSON array whose elements are the frames, as Gemini sends without `alt=sse`.
//! <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>

use super::{Frame, FrameError, Status};

/// Incremental decoder of a JSON array.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
}

impl Decoder {
    pub(super) fn next<'a>(&'a mut self, _input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        Ok(Status::Incomplete)
    }

    pub(super) fn end(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        Ok(None)
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.partial
    }
}
