//! From a fixture to a response: encoded for the endpoint that asks, and paced.

use crate::body::{Body, Paced};
use crate::fixture::{Fixture, Playback, StreamingProfile, Wire, file};
use crate::frame::{Frames, Framing};
use crate::provider::{Codec, Encoding, ErrorBody, Provider, Shape};
use crate::reply::{Answer, Embeddings, ErrorAnswer, RawBody};
use crate::request::{Request, VectorFormat};
use crate::wire;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use ring::digest;
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// Length of vectors that are made up, where the request asks for none.
const DEFAULT_DIMENSIONS: usize = 1536;

/// Longest vector that is made up.
const MAX_DIMENSIONS: usize = 16_384;

/// Headers that an answer has at most, nearly always; they are allocated once.
const ANSWER_HEADERS: usize = 8;

/// The media type of a body whose own cannot be sent.
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Longest delay before one frame.
const MAX_DELAY: Duration = Duration::from_secs(600);

/// What the server, not the fixture, says about playing it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Milliseconds before the first byte and between frames.
    pub latency_ms: u64,
    /// Characters of text in one frame.
    pub chunk_chars: usize,
    /// How many times faster than recorded; `None`: as fast as can be.
    pub replay_speed: Option<f64>,
    /// Unix seconds.
    pub now: i64,
    /// Follows from the request.
    pub seed: u64,
}

/// A request's endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// Whose it is.
    pub provider: &'static Provider,
    /// The wire spoken there.
    pub codec: &'static dyn Codec,
    /// The request.
    pub request: &'a Request<'a>,
}

/// The response that a fixture gives.
pub fn respond(fixture: &Fixture, endpoint: &Endpoint<'_>, manner: &Manner) -> Response<Body> {
    let playback = &fixture.playback;
    match &fixture.answer {
        Answer::Error(error) => {
            let mut response = error_response(endpoint, error);
            let bytes = match std::mem::replace(response.body_mut(), Body::empty()) {
                Body::Whole(Some(bytes)) => bytes,
                _ => Bytes::new(),
            };
            *response.body_mut() = whole_body(bytes, playback, manner);
            response
        }
        Answer::Raw(raw) => {
            let bytes = match &raw.body {
                RawBody::Json(json) => json.to_string().into_bytes(),
                RawBody::Bytes(bytes) => bytes.clone(),
                RawBody::Absent(_) => Vec::new(),
            };
            let body = whole_body(Bytes::from(bytes), playback, manner);
            let status = StatusCode::from_u16(raw.status).unwrap_or(StatusCode::OK);
            let mut response = response(status, HeaderValue::from_str(&raw.content_type).unwrap_or(OCTETS), body);
            if raw.content_type.is_empty() {
                response.headers_mut().remove(CONTENT_TYPE); // it had none
            }
            if let Some(seconds) = raw.retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        answer => encoded(answer, fixture, endpoint, manner),
    }
}

fn encoded(answer: &Answer, fixture: &Fixture, endpoint: &Endpoint<'_>, manner: &Manner) -> Response<Body> {
    let (request, playback) = (endpoint.request, &fixture.playback);
    let answer = filled(answer, request, fixture.recorded());
    let to = Encoding {
        request,
        chunk_chars: playback.chunk_chars.unwrap_or(manner.chunk_chars).max(1),
        now: manner.now,
        seed: manner.seed,
    };
    let Some(mut native) = endpoint.codec.write(&answer, &to) else {
        let message = "this endpoint gives no answer of this kind".to_owned();
        return error_response(endpoint, &ErrorAnswer { status: 500, message, ..ErrorAnswer::default() });
    };
    if let Some(beyond) = fixture.native.as_deref().filter(|beyond| beyond.wire == endpoint.codec.wire()) {
        beyond.lay_over(&mut native); // `aimock check` tells what has no place any more
    }
    match endpoint.codec.shape() {
        Shape::Chat(wire) if request.streamed() => {
            let body = streamed_body(wire.stream(&native, &to), playback, manner);
            let mut response = response(StatusCode::OK, media(request.framing), body);
            if request.framing == Framing::Sse {
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
            response
        }
        _ => {
            let body = whole_body(Bytes::from(native.to_bytes()), playback, manner);
            response(StatusCode::OK, media(Framing::Whole), body)
        }
    }
}

/// Embeddings with a vector for each input; all else as it is. A provider may count inputs otherwise: what was recorded
/// is not cut.
fn filled<'a>(answer: &'a Answer, request: &Request<'_>, recorded: bool) -> Cow<'a, Answer> {
    let Answer::Embeddings(embeddings) = answer else { return Cow::Borrowed(answer) };
    let wanted = request.inputs.len().max(1);
    let given = embeddings.vectors.len();
    if given == wanted || (recorded && given > wanted) {
        return Cow::Borrowed(answer);
    }
    let vectors = (0..wanted).map(|i| match &embeddings.vectors[..] {
        [] => derive_vector(request.inputs.get(i).map_or("", |text| text), &request.vectors),
        some => some[i % some.len()].clone(),
    });
    Cow::Owned(Answer::Embeddings(Embeddings { vectors: vectors.collect(), ..embeddings.clone() }))
}

/// A unit vector that depends on nothing but the text and the length asked for.
fn derive_vector(text: &str, format: &VectorFormat) -> Vec<f64> {
    let length = format.dimensions.unwrap_or(DEFAULT_DIMENSIONS).clamp(1, MAX_DIMENSIONS);
    let mut vector = Vec::with_capacity(length);
    let mut block = 0u64;
    while vector.len() < length {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&block.to_le_bytes());
        context.update(text.as_bytes());
        let hash = context.finish();
        let components = hash.as_ref().chunks_exact(4).map(|b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        vector.extend(components.map(|c| c / f64::from(i32::MAX)));
        block += 1;
    }
    vector.truncate(length);
    let norm = vector.iter().map(|c| c * c).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    // Clients ask for f32, so nothing finer is made up.
    vector.iter().map(|c| shortest_f32(c / norm)).collect()
}

/// The f64 whose shortest decimal is that of the nearest f32.
fn shortest_f32(value: f64) -> f64 {
    let narrow = value as f32;
    narrow.to_string().parse().unwrap_or(value)
}

fn media(framing: Framing) -> HeaderValue {
    HeaderValue::from_static(framing.content_type())
}

fn response(status: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(ANSWER_HEADERS);
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    response
}

/// Whether the readable part of a wire recording is as it was written.
pub fn unedited(fixture: &Fixture) -> bool {
    fixture.wire.as_ref().is_some_and(|wire| wire.response_hash == file::response_hash(fixture))
}

/// The answer as it was on the wire, byte for byte.
pub fn wire(wire: &Wire, playback: &Playback, manner: &Manner) -> Response<Body> {
    let mut frames = Frames::default();
    for piece in &wire.frames {
        frames.push(|out| out.extend_from_slice(&wire::bytes_of(wire, piece)));
    }
    let streamed = !wire.endpoint.ends_with(" whole");
    let body = if streamed {
        streamed_body(frames, playback, manner)
    } else {
        whole_body(Bytes::from(frames.bytes), playback, manner)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(wire.status).unwrap_or(StatusCode::OK);
    for (name, value) in &wire.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// An error in the shape of the endpoint's wire or provider.
pub fn error_response(endpoint: &Endpoint<'_>, error: &ErrorAnswer) -> Response<Body> {
    provider_error(endpoint.provider, Some(endpoint.codec), error)
}

/// An error in a provider's shape.
pub fn provider_error(provider: &Provider, codec: Option<&dyn Codec>, error: &ErrorAnswer) -> Response<Body> {
    let shaped = codec.and_then(|codec| codec.error(error));
    let ErrorBody { json, headers } = shaped.unwrap_or_else(|| (provider.error)(error));
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, media(Framing::Whole), Body::whole(json.to_string()));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    let retry_after = error.retry_after.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(1));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A JSON answer of the server's own.
pub fn json_response(status: StatusCode, json: &Value) -> Response<Body> {
    response(status, media(Framing::Whole), Body::whole(json.to_string()))
}

// --------------------------------------------------------------------------------------------------------- pacing

fn whole_body(bytes: Bytes, playback: &Playback, manner: &Manner) -> Body {
    let mut delays = Delays::new(playback, manner);
    let break_after = playback.disconnect_after_ms.map(Duration::from_millis);
    let delay = delays.whole();
    if delay.is_zero() && break_after.is_none() {
        return Body::whole(bytes);
    }
    let len = bytes.len() as u64;
    Body::Paced(Box::new(Paced::new([(delay, bytes)], false, break_after, Some(len))))
}

fn streamed_body(frames: Frames, playback: &Playback, manner: &Manner) -> Body {
    let mut delays = Delays::new(playback, manner);
    let cut = playback.truncate_after_chunks.filter(|n| *n < frames.ends.len());
    let break_after = playback.disconnect_after_ms.map(Duration::from_millis);
    if delays.none() && cut.is_none() && break_after.is_none() {
        return Body::Stream(Some(Bytes::from(frames.bytes)));
    }
    let bytes = Bytes::from(frames.bytes);
    let mut start = 0;
    let pieces = frames.ends.iter().take(cut.unwrap_or(usize::MAX)).map(|end| {
        let piece = bytes.slice(start..*end);
        start = *end;
        (delays.next(), piece)
    });
    Body::Paced(Box::new(Paced::new(pieces, cut.is_some(), break_after, None)))
}

/// The delay before each frame.
enum Delays<'a> {
    None,
    Steady(Duration),
    Profile { profile: StreamingProfile, first: bool, noise: u64, latency: Duration },
    Recorded { ttft_ms: f64, gaps: &'a [f64], total_ms: f64, speed: f64, at: usize },
}

impl<'a> Delays<'a> {
    fn new(playback: &'a Playback, manner: &Manner) -> Self {
        let speed = playback.replay_speed.or(manner.replay_speed);
        if let (Some(timings), Some(speed)) = (&playback.timings, speed) {
            let (ttft_ms, total_ms) = (timings.ttft_ms, timings.total_duration_ms);
            return Delays::Recorded { ttft_ms, gaps: &timings.inter_chunk_delays_ms, total_ms, speed, at: 0 };
        }
        let latency = Duration::from_millis(playback.latency_ms.unwrap_or(manner.latency_ms));
        match playback.profile {
            Some(profile) => Delays::Profile { profile, first: true, noise: manner.seed | 1, latency },
            None if latency.is_zero() => Delays::None,
            None => Delays::Steady(latency),
        }
    }

    fn none(&self) -> bool {
        matches!(self, Delays::None)
    }

    /// The delay before an answer that is not streamed.
    fn whole(&mut self) -> Duration {
        match self {
            Delays::Recorded { total_ms, speed, .. } => milliseconds(*total_ms / *speed),
            _ => self.next(),
        }
    }

    fn next(&mut self) -> Duration {
        match self {
            Delays::None => Duration::ZERO,
            Delays::Steady(latency) => *latency,
            Delays::Recorded { ttft_ms, gaps, speed, at, .. } => {
                let delay = if *at == 0 { *ttft_ms } else { gaps.get(*at - 1).copied().unwrap_or(0.0) };
                *at += 1;
                milliseconds(delay / *speed)
            }
            Delays::Profile { profile, first, noise, latency } => {
                let between = profile.tps.filter(|tps| *tps > 0.0).map(|tps| 1000.0 / tps);
                let base = if std::mem::take(first) { profile.ttft_ms.or(between) } else { between };
                let base = base.unwrap_or(latency.as_secs_f64() * 1000.0);
                let jitter = profile.jitter.unwrap_or(0.0).clamp(0.0, 1.0);
                milliseconds(base * (1.0 + jitter * (2.0 * random(noise) - 1.0)))
            }
        }
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64((ms / 1000.0).max(0.0)).unwrap_or(MAX_DELAY).min(MAX_DELAY)
}

/// A number from 0 to 1, by xorshift64*, <https://doi.org/10.18637/jss.v008.i14>.
pub fn random(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(playback: &Playback, manner: &Manner, n: usize) -> Vec<u128> {
        let mut delays = Delays::new(playback, manner);
        (0..n).map(|_| delays.next().as_millis()).collect()
    }

    const MANNER: Manner = Manner { latency_ms: 0, chunk_chars: 20, replay_speed: None, now: 0, seed: 3 };

    #[test]
    fn recorded_timings_play_only_at_a_speed() {
        let timings = crate::fixture::RecordedTimings {
            ttft_ms: 100.0,
            inter_chunk_delays_ms: vec![10.0, 20.0],
            total_duration_ms: 130.0,
        };
        let mut playback = Playback { timings: Some(Box::new(timings)), ..Playback::default() };
        assert_eq!(delays(&playback, &MANNER, 3), [0, 0, 0]);
        assert_eq!(delays(&playback, &Manner { replay_speed: Some(2.0), ..MANNER }, 4), [50, 5, 10, 0]);
        playback.replay_speed = Some(1.0);
        assert_eq!(delays(&playback, &MANNER, 2), [100, 10]);
    }

    #[test]
    fn a_profile_has_its_first_delay_its_rate_and_its_jitter() {
        let profile = StreamingProfile { ttft_ms: Some(200.0), tps: Some(50.0), jitter: None };
        let playback = Playback { profile: Some(profile), ..Playback::default() };
        assert_eq!(delays(&playback, &MANNER, 3), [200, 20, 20]);
        let jittered = StreamingProfile { jitter: Some(0.5), ..profile };
        let playback = Playback { profile: Some(jittered), ..Playback::default() };
        let first = delays(&playback, &MANNER, 50);
        assert!(first[1..].iter().all(|ms| (10..=30).contains(ms)), "{first:?}");
        assert_eq!(first, delays(&playback, &MANNER, 50), "the same seed, the same pace");
    }

    #[test]
    fn made_up_vectors_depend_on_the_text_alone() {
        let format = VectorFormat { dimensions: Some(20), ..VectorFormat::default() };
        let (a, b) = (derive_vector("a", &format), derive_vector("b", &format));
        assert_eq!(a, derive_vector("a", &format));
        assert_ne!(a, b);
        assert_eq!(a.len(), 20);
        assert!((a.iter().map(|c| c * c).sum::<f64>() - 1.0).abs() < 1e-5);
    }
}
