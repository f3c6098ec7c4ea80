//! `application/vnd.amazon.eventstream`: binary messages of headers and a payload, each with two CRC32 sums.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>

use super::{Frame, FrameError, Status};

/// The content type of an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Incremental decoder of event stream messages.
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
