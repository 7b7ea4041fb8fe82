use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, EmptyObject, PingRequest, ServerResult,
};
use serde_json::{Value, json, value::to_raw_value};

use super::*;

/// A wire on which lines lie until they are looked at.
#[derive(Default)]
struct Lying {
    lines: Mutex<Vec<(Option<i64>, Value)>>,
    takes_back: bool,
}

impl Wire for Lying {
    fn request(&self, id: i64, line: Vec<u8>, _: bool, _: &Arc<Exchange>) -> io::Result<()> {
        let line = serde_json::from_slice(&line).unwrap();
        self.lines.lock().push((Some(id), line));
        Ok(())
    }

    fn notify(&self, line: Vec<u8>, _: QueuedMessage) {
        let line = serde_json::from_slice(&line).unwrap();
        self.lines.lock().push((None, line));
    }

    fn withdraw(&self, id: i64) -> bool {
        self.takes_back && {
            self.lines.lock().retain(|line| line.0 != Some(id));
            true
        }
    }
}

fn over(wire: Lying) -> (Arc<Exchange>, Arc<Lying>) {
    let (exchange, wire) = (Arc::<Exchange>::default(), Arc::new(wire));
    exchange.connect(Way::Lines(Arc::clone(&wire) as _));
    (exchange, wire)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

async fn request(exchange: &Arc<Exchange>) -> Reply {
    let progress = ProgressRoutes::default();
    let request = RawRequest::new("tools/call");
    exchange
        .request(request, &Defaults::default(), &progress)
        .await
}

#[test]
fn a_reply_goes_to_the_one_who_asked() {
    let (exchange, wire) = over(Lying::default());
    let (mut first, mut second) = (pin!(request(&exchange)), pin!(request(&exchange)));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    let ids: Vec<_> = wire
        .lines
        .lock()
        .iter()
        .map(|line| line.0.unwrap())
        .collect();
    assert_eq!(ids, [FIRST_ID, FIRST_ID + 1]);
    assert!(exchange.answer(ids[1], Ok(raw(&json!(2)))));
    assert!(poll(first.as_mut()).is_pending());
    assert!(matches!(poll(second), Poll::Ready(Ok(reply)) if reply.get() == "2"));
    assert!(exchange.answer(ids[0], Ok(raw(&json!(1)))));
    assert!(!exchange.answer(ids[0], Ok(raw(&json!("again")))));
    assert!(matches!(poll(first), Poll::Ready(Ok(reply)) if reply.get() == "1"));
    assert_eq!(
        (exchange.len(), exchange.answered(), exchange.calls()),
        (0, 2, 2)
    );
}

#[test]
fn the_caller_that_goes_cancels_what_has_left_and_withdraws_what_has_not() {
    for takes_back in [false, true] {
        let lines = Mutex::default();
        let (exchange, wire) = over(Lying { lines, takes_back });
        {
            let mut call = pin!(request(&exchange));
            assert!(poll(call.as_mut()).is_pending());
        }
        let lines = wire.lines.lock();
        if takes_back {
            assert!(lines.is_empty());
            assert_eq!((exchange.len(), exchange.cancellations()), (0, 0));
        } else {
            assert_eq!(lines[1].1["method"], "notifications/cancelled");
            assert_eq!(lines[1].1["params"]["requestId"], FIRST_ID);
            assert_eq!((exchange.len(), exchange.cancellations()), (1, 1));
            drop(lines);
            assert!(exchange.answer(FIRST_ID, Ok(raw(&json!("late")))));
            assert!(exchange.is_empty());
        }
    }
}

#[test]
fn a_call_that_was_answered_and_not_looked_at_is_not_cancelled() {
    let (exchange, wire) = over(Lying::default());
    {
        let mut call = pin!(request(&exchange));
        assert!(poll(call.as_mut()).is_pending());
        assert!(exchange.answer(FIRST_ID, Ok(raw(&json!({})))));
    }
    assert_eq!((wire.lines.lock().len(), exchange.cancellations()), (1, 0));
}

#[test]
fn no_request_outlasts_its_session() {
    for takes_back in [false, true] {
        let lines = Mutex::default();
        let (exchange, _) = over(Lying { lines, takes_back });
        let mut call = pin!(request(&exchange));
        assert!(poll(call.as_mut()).is_pending());
        exchange.close();
        let ended = poll(call);
        match takes_back {
            true => assert!(matches!(
                ended,
                Poll::Ready(Err(ServiceError::TransportSend(_)))
            )),
            false => assert!(matches!(
                ended,
                Poll::Ready(Err(ServiceError::TransportClosed))
            )),
        }
        let mut late = pin!(request(&exchange));
        let refused = poll(late.as_mut());
        assert!(matches!(
            refused,
            Poll::Ready(Err(ServiceError::TransportClosed))
        ));
    }
}

fn ask(exchange: &Exchange, id: i64) {
    let ping = ClientRequest::PingRequest(PingRequest::default());
    exchange.sending(&JsonRpcMessage::request(ping, RequestId::Number(id)));
}

fn cancel(exchange: &Exchange, id: i64) {
    let params = CancelledNotificationParam::new(Some(RequestId::Number(id)), None);
    let cancelled = CancelledNotification::new(params);
    let cancelled = ClientNotification::CancelledNotification(cancelled);
    exchange.sending(&JsonRpcMessage::notification(cancelled));
}

fn answer(exchange: &Exchange, id: i64) {
    let result = ServerResult::EmptyResult(EmptyObject {});
    exchange.received(&JsonRpcMessage::response(result, RequestId::Number(id)));
}

#[test]
fn a_reply_that_nothing_has_asked_for_is_not_counted_as_an_answer() {
    let exchange = Exchange::default();
    ask(&exchange, 1);
    answer(&exchange, 999);
    assert_eq!((exchange.answered(), exchange.is_empty()), (0, false));
    answer(&exchange, 1);
    answer(&exchange, 1);
    assert_eq!((exchange.answered(), exchange.is_empty()), (1, true));
}

#[test]
fn cancelled_requests_that_are_never_answered_are_not_kept_without_end() {
    let exchange = Exchange::default();
    ask(&exchange, -1);
    for id in 0..100_000 {
        ask(&exchange, id);
        cancel(&exchange, id);
    }
    assert!(exchange.len() <= Exchange::MOST);
    let kept = |id| exchange.requests.lock().open.contains_key(&id);
    assert!(kept(-1), "it was not cancelled");
    assert!(kept(99_999), "it was cancelled last");
}
