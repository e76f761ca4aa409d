//! Request bodies on their way in.
//!
//! A [`RequestBody`] is a stream that never holds more than the frame it is
//! passing on. It gives up on a client that has gone silent. Dropped before its
//! end, because the request was refused, it lets a bounded rest run into the
//! void: a connection that is closed on unread bytes is reset, and a client that
//! is still sending then sees a broken pipe in place of the refusal. With HTTP/2
//! some clients do so too when their stream is reset behind the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use bytes::Bytes;
use entrepot_service::Gathering;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::error::{Failure, RequestError};

/// For a whole manifest: at 300 kbit/s the largest takes as long.
const MANIFEST_TIME_MAX: Duration = Duration::from_mins(2);
/// What is read of a refused body: a manifest that is somewhat too large, or
/// what comes of a longer one until its client has seen the answer.
const DRAIN_BYTES_MAX: u64 = 8 * 1024 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// The body of a request; a stream of its bytes.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// None once it has ended, in whatever way.
    inner: Option<Body>,
    /// What `Content-Length` says, or the absence of any body.
    length: Option<u64>,
    /// A client that sends nothing for this long, while it is being waited for,
    /// is gone.
    silence_max: Duration,
    /// Runs while `waiting`; made when first needed, which for most is never.
    silence: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    left_unread: LeftUnread,
    /// Whether the client waits for leave to send (`100 Continue`). It gets that
    /// when the body is first polled.
    awaits_leave: bool,
}

/// Whether some of a body is going to be left unread, so that nothing can follow
/// it on its connection. Known once the body is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftUnread(Arc<AtomicBool>);

// === impl LeftUnread ===

impl LeftUnread {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn new(parts: &Parts, body: Body, silence_max: Duration) -> Self {
        let declared = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        Self {
            length: declared.or_else(|| body.size_hint().exact()),
            inner: Some(body),
            silence_max,
            silence: None,
            waiting: false,
            left_unread: LeftUnread::default(),
            awaits_leave: awaits_leave(parts),
        }
    }

    pub(crate) fn left_unread(&self) -> LeftUnread {
        self.left_unread.clone()
    }

    /// The length in bytes, where the client told it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The whole body, which may have at most `max` bytes. Takes memory as they
    /// arrive, noted in `gathering`, whatever the client has announced.
    ///
    /// # Errors
    /// [`RequestError::ManifestTooLarge`] as soon as that is known,
    /// [`RequestError::ManifestStalled`] and [`RequestError::ManifestTorn`] for a body
    /// without its end, and what `gathering` says.
    pub(crate) async fn manifest(
        self,
        max: usize,
        gathering: &mut Gathering,
    ) -> Result<Bytes, Failure> {
        let declared = self.length.map(|length| usize::try_from(length).ok());
        let expected = match declared {
            None => max,
            Some(Some(length)) if length <= max => length,
            Some(_) => return Err(RequestError::ManifestTooLarge { max }.into()),
        };
        timeout(MANIFEST_TIME_MAX, self.gather(expected, max, gathering))
            .await
            .map_err(|_| RequestError::ManifestStalled)?
    }

    async fn gather(
        mut self,
        expected: usize,
        max: usize,
        gathering: &mut Gathering,
    ) -> Result<Bytes, Failure> {
        let mut content = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => RequestError::ManifestStalled,
                _ => RequestError::ManifestTorn(error),
            })?;
            let length = content.len() + chunk.len();
            if length > max {
                return Err(RequestError::ManifestTooLarge { max }.into());
            }
            gathering.grow(chunk.len())?;
            if length > content.capacity() {
                let doubled = (2 * content.len()).min(expected).max(length);
                content.reserve_exact(doubled - content.len());
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.into())
    }

    /// The next bytes, trailers left out.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(body) = &mut self.inner else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    let error = io::Error::new(io::ErrorKind::ConnectionAborted, error);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// Whether the client has been silent for too long. The time counts from
    /// when it is first waited for: the disks may have been the slow ones.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.silence_max;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            silence.as_mut().reset(Instant::now() + limit);
        }
        silence.as_mut().poll(cx)
    }
}

impl Stream for RequestBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.awaits_leave = false;
        match self.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                self.waiting = false;
                Poll::Ready(Some(Ok(data)))
            }
            Poll::Ready(ended) => {
                self.inner = None;
                Poll::Ready(ended)
            }
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                self.inner = None;
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.inner.take() else {
            return;
        };
        if body.is_end_stream() {
            return;
        }
        // What is announced and has not come yet.
        let rest = body.size_hint().lower();
        if self.awaits_leave || rest > DRAIN_BYTES_MAX {
            self.left_unread.0.store(true, Ordering::Relaxed);
        }
        if self.awaits_leave {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(DRAIN_TIME_MAX, drain(body)));
        }
    }
}

fn awaits_leave(parts: &Parts) -> bool {
    let leave = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    parts.headers.get(EXPECT).is_some_and(leave)
}

async fn drain(body: Body) {
    let mut frames = body.into_data_stream();
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(data)) = frames.next().await {
        match left.checked_sub(data.len() as u64) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use entrepot_service::{Gathering, ServiceError, UNCOUNTED_BYTES};
    use tokio::sync::Semaphore;

    use super::RequestBody;
    use crate::error::{Failure, RequestError};

    const SILENCE_MAX: Duration = Duration::from_secs(7);
    const CHUNK: &[u8] = &[7; 1000];

    fn request_body(header: Option<(&str, &str)>, body: Body) -> RequestBody {
        let mut request = Request::builder();
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        RequestBody::new(&parts, body, SILENCE_MAX)
    }

    async fn manifest(body: RequestBody, max: usize) -> Result<Bytes, RequestError> {
        let plenty = Arc::new(Semaphore::new(1 << 20));
        let gathered = body.manifest(max, &mut Gathering::new(&plenty)).await;
        gathered.map_err(|failure| match failure {
            Failure::Request(error) => error,
            other => panic!("{other}"),
        })
    }

    fn endless(sent: &Arc<AtomicU64>) -> Body {
        let sent = Arc::clone(sent);
        Body::from_stream(stream::repeat_with(move || {
            sent.fetch_add(CHUNK.len() as u64, Ordering::Relaxed);
            Ok::<_, io::Error>(Bytes::from_static(CHUNK))
        }))
    }

    #[tokio::test]
    async fn length_is_what_the_client_says() {
        let unknown = || Body::from_stream(stream::empty::<io::Result<Bytes>>());
        let cases = [
            (request_body(None, Body::empty()), Some(0)),
            (request_body(None, Body::from("abc")), Some(3)),
            (
                request_body(Some(("content-length", "5")), unknown()),
                Some(5),
            ),
            (request_body(None, unknown()), None),
        ];
        for (body, expected) in cases {
            assert_eq!(body.length(), expected, "{body:?}");
        }
    }

    #[tokio::test]
    async fn a_manifest_is_read_up_to_its_limit() {
        let body = request_body(None, Body::from(CHUNK));
        assert_eq!(manifest(body, CHUNK.len()).await.unwrap(), CHUNK);
    }

    #[tokio::test]
    async fn a_manifest_declared_too_large_is_not_read() {
        let sent = Arc::new(AtomicU64::new(0));
        let body = request_body(Some(("content-length", "10000000000")), endless(&sent));
        let error = manifest(body, 2500).await.unwrap_err();
        assert!(
            matches!(error, RequestError::ManifestTooLarge { max: 2500 }),
            "{error}"
        );
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_manifest_that_grows_too_large_is_given_up() {
        let sent = Arc::new(AtomicU64::new(0));
        let body = request_body(None, endless(&sent));
        let error = manifest(body, 2500).await.unwrap_err();
        assert!(
            matches!(error, RequestError::ManifestTooLarge { max: 2500 }),
            "{error}"
        );
        assert_eq!(sent.load(Ordering::Relaxed), 3000);
    }

    #[tokio::test]
    async fn a_torn_manifest_is_an_error() {
        let torn = stream::iter([
            Ok(Bytes::from_static(CHUNK)),
            Err(io::ErrorKind::BrokenPipe),
        ])
        .map(|item| item.map_err(io::Error::from));
        let body = request_body(None, Body::from_stream(torn));
        let error = manifest(body, 2500).await.unwrap_err();
        assert!(matches!(error, RequestError::ManifestTorn(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let silent = stream::iter([Ok(Bytes::from_static(CHUNK))])
            .chain(stream::pending::<io::Result<Bytes>>());
        let mut body = request_body(None, Body::from_stream(silent));
        let start = tokio::time::Instant::now();
        assert_eq!(body.next().await.unwrap().unwrap(), CHUNK);
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= SILENCE_MAX);
        assert!(body.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_manifest_that_does_not_come_is_stalled() {
        let silent = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let error = manifest(request_body(None, silent), 2500)
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::ManifestStalled), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_manifest_that_comes_byte_by_byte_is_stalled_too() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(SILENCE_MAX / 2).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
        });
        let body = request_body(None, Body::from_stream(drops));
        let start = tokio::time::Instant::now();
        let error = manifest(body, 1_000_000).await.unwrap_err();
        assert!(matches!(error, RequestError::ManifestStalled), "{error}");
        assert_eq!(start.elapsed(), super::MANIFEST_TIME_MAX);
    }

    #[tokio::test]
    async fn a_manifest_takes_what_came_of_it_and_no_more() {
        let declared = Some(("content-length", "4194304"));
        let sent = Arc::new(AtomicU64::new(0));
        let left = Arc::new(Semaphore::new(5000));
        let mut gathering = Gathering::new(&left);
        let body = request_body(declared, endless(&sent));
        let failure = body.manifest(4 << 20, &mut gathering).await.unwrap_err();
        assert!(
            matches!(failure, Failure::Service(ServiceError::Unavailable { .. })),
            "{failure}"
        );
        let most = UNCOUNTED_BYTES + 5000 + CHUNK.len();
        assert!(sent.load(Ordering::Relaxed) <= most as u64);
        drop(gathering);
        assert_eq!(left.available_permits(), 5000);
    }

    #[tokio::test]
    async fn a_refused_body_is_drained_to_its_limit() {
        let sent = Arc::new(AtomicU64::new(0));
        drop(request_body(None, endless(&sent)));
        while sent.load(Ordering::Relaxed) <= super::DRAIN_BYTES_MAX {
            tokio::task::yield_now().await;
        }
        let at_limit = sent.load(Ordering::Relaxed);
        tokio::task::yield_now().await;
        assert_eq!(sent.load(Ordering::Relaxed), at_limit);
    }

    #[tokio::test]
    async fn what_is_left_unread_is_known() {
        let leave = Some(("expect", "100-continue"));
        let large = vec![0; 1 + usize::try_from(super::DRAIN_BYTES_MAX).unwrap()];
        for (header, content, expected) in [
            (None, Vec::new(), false),
            (None, CHUNK.to_vec(), false),
            (leave, CHUNK.to_vec(), true),
            (None, large, true),
        ] {
            let body = request_body(header, Body::from(content));
            let left_unread = body.left_unread();
            drop(body);
            assert_eq!(left_unread.is_so(), expected, "{header:?}");
        }
    }

    #[tokio::test]
    async fn who_awaits_leave_to_send_is_not_read() {
        let sent = Arc::new(AtomicU64::new(0));
        drop(request_body(
            Some(("expect", "100-continue")),
            endless(&sent),
        ));
        tokio::task::yield_now().await;
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }
}
