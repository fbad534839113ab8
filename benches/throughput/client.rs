//! The least client that can keep a server busy: keep-alive HTTP/1.1, one request at a time on each connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const REQUEST: &[u8] = b"GET /api/data HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Asks for that long on that many connections; returns the number of answers and the time they took.
pub fn drive(address: SocketAddr, connections: usize, round: Duration) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.expect("the server listens");
            stream.set_nodelay(true).expect("a TCP stream");
            streams.push(stream);
        }
        let started = Instant::now();
        let mut tasks: JoinSet<u64> =
            streams.into_iter().map(|stream| ask(stream, started + round)).collect();
        let mut answers = 0;
        while let Some(task) = tasks.join_next().await {
            answers += task.expect("no panic");
        }
        (answers, started.elapsed())
    })
}

async fn ask(mut stream: TcpStream, until: Instant) -> u64 {
    let mut buffer = vec![0; 8192];
    let mut answers = 0;
    while Instant::now() < until {
        stream.write_all(REQUEST).await.expect("the server reads");
        let mut filled = 0;
        while !is_whole(&buffer[..filled]) {
            let read = stream.read(&mut buffer[filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection, or its answer is too long");
            filled += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..filled]));
        answers += 1;
    }
    answers
}

/// Head and body have arrived.
fn is_whole(answer: &[u8]) -> bool {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let at = answer[..head].windows(LENGTH.len()).position(|window| window == LENGTH).expect("a length");
    let digits = answer[at + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    answer.len() >= head + 4 + length
}
