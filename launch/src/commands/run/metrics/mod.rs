//! Metrics for Prometheus on loopback: what `status` counts, and the whole histograms.
//!
//! From: [`Figures`], which this process's main thread puts down at every look around. To: whoever asks `GET /metrics`. A
//! thread of its own with low priority answers; the control thread never sees it. Everything that a client can use up has
//! a bound: connections, bytes of a request, time.

mod text;

use super::figures::Figures;
use crate::background::lower_priority;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Clients that are served at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of a request line with its headers: the least that hyper takes.
const REQUEST_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 32;
/// Until the headers are there.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(2);
/// From a connection's beginning to its end.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// After a connection that the system could not give: it is out of something.
const AGAIN: Duration = Duration::from_millis(100);

/// The newest figures, between the threads.
type Shown = Arc<Mutex<Arc<Figures>>>;

/// Answers until the process ends.
pub(super) struct Metrics {
    shown: Shown,
    address: SocketAddr,
}

impl Metrics {
    /// Listens at `address`, which is on loopback; port 0: any free one.
    pub(super) fn serve(address: SocketAddr) -> CommandResult<Self> {
        let busy = |error: std::io::Error| CommandError::missing(anyhow!("operations.metrics {address}: {error}"));
        let listener = TcpListener::bind(address).map_err(busy)?;
        listener.set_nonblocking(true).map_err(busy)?;
        let bound = listener.local_addr().map_err(busy)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(busy)?;
        let shown = Shown::default();
        let figures = Arc::clone(&shown);
        let work = move || {
            lower_priority();
            if let Err(error) = runtime.block_on(accept(listener, figures)) {
                tracing::warn!("metrics: {error}; there are none from now on");
            }
        };
        std::thread::Builder::new().name("metrics".to_owned()).spawn(work).map_err(busy)?;
        Ok(Self { shown, address: bound })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is told from now on.
    pub(super) fn show(&self, figures: &Figures) {
        let figures = Arc::new(figures.clone());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

async fn accept(listener: TcpListener, shown: Shown) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("metrics: {error}");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let shown = Arc::clone(&shown);
        tokio::spawn(async move {
            let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &shown))));
            let served = http1::Builder::new()
                .keep_alive(false)
                .max_headers(HEADERS_MAX)
                .max_buf_size(REQUEST_BYTES_MAX)
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIME_MAX)
                .serve_connection(TokioIo::new(stream), answer);
            // A client that is slow, or sends what is no request, has only itself to blame.
            match tokio::time::timeout(CONNECTION_TIME_MAX, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("metrics: {error}"),
                Err(_) => tracing::debug!("metrics: a client took longer than {CONNECTION_TIME_MAX:?}"),
            }
            drop(place);
        });
    }
}

/// The body of a request is never read.
fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let figures = Arc::clone(&shown.lock().unwrap_or_else(PoisonError::into_inner));
    match text::text(figures) {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(text::CONTENT_TYPE));
            response
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written as text\n"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn served() -> Metrics {
        Metrics::serve("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// What comes back for these bytes, until the server closes.
    fn exchange(metrics: &Metrics, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(metrics.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A server that has had enough closes while we still write.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    const GOOD: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn only_metrics_are_served_and_only_to_be_read() {
        let metrics = served();
        let figures = Figures { mode: "running", ..Figures::default() };
        metrics.show(&figures);
        let answer = exchange(&metrics, GOOD);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(text::CONTENT_TYPE), "{answer}");
        assert!(answer.contains("egogrid_mode{mode=\"running\"} 1") && answer.ends_with("# EOF\n"), "{answer}");
        let head = exchange(&metrics, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("EOF"), "{head}");
        let other = exchange(&metrics, b"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        let post = exchange(&metrics, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405") && post.contains("GET, HEAD"), "{post}");
    }

    #[test]
    fn requests_that_are_none_or_never_end_are_closed_and_the_next_one_is_served() {
        let metrics = served();
        let endless = [b"GET /metrics HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
        let many = [b"GET /metrics HTTP/1.1\r\n".to_vec(), b"A: b\r\n".repeat(1000), b"\r\n".to_vec()].concat();
        for request in [&endless[..], &many, b"\xff\xfe\x00\r\n\r\n", b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let answer = exchange(&metrics, request);
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(refused, "{:?}: {answer}", &request[..request.len().min(40)]);
        }
        assert!(exchange(&metrics, GOOD).starts_with("HTTP/1.1 200"));
    }

    /// Slow clients take all places; the next one is turned away at once, and served when their time is over.
    #[test]
    fn slow_clients_are_bounded_in_number_and_time() {
        let metrics = served();
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(metrics.address()).unwrap();
            stream.write_all(b"GET /metrics HT").unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            slow.push(stream);
        }
        assert_eq!(exchange(&metrics, GOOD), "", "no place is left");
        for mut stream in slow {
            // Its end comes from the server: we never send the rest, and never close.
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
        }
        assert!(exchange(&metrics, GOOD).starts_with("HTTP/1.1 200"));
    }
}
