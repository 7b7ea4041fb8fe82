use std::sync::atomic::{AtomicU32, Ordering};

use rmcp::model::{NumberOrString, ProgressNotificationParam, ProgressToken};
use tokio::time::{advance, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn with(options: &RequestOptions) -> CallDeadline {
    CallDeadline::with(4 * SECOND, options)
}

fn until_due(deadline: &CallDeadline) -> Duration {
    deadline.due() - Instant::now()
}

/// The server reports progress.
fn report(deadline: &CallDeadline, options: &RequestOptions) {
    let token = ProgressToken(NumberOrString::Number(1));
    let sink = deadline.sink(options).expect("progress is of interest");
    sink(ProgressNotificationParam::new(token, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_due_when_its_limit_has_passed_and_after_max_total_at_the_latest() {
    let options = RequestOptions::new();
    assert_eq!(until_due(&CallDeadline::start(SECOND)), SECOND);
    assert_eq!(until_due(&with(&options)), 4 * SECOND);
    assert_eq!(until_due(&with(&options.clone().timeout(SECOND))), SECOND);
    assert_eq!(until_due(&with(&options.clone().max_total(SECOND))), SECOND);
    let endless = with(&options.timeout(Duration::MAX));
    assert_eq!(until_due(&endless), YEAR, "as far as the clock goes");
}

#[tokio::test(start_paused = true)]
async fn the_longest_a_call_may_take_counts_from_its_start() {
    let options = RequestOptions::new();
    let (limited, total) = (with(&options), with(&options.clone().max_total(SECOND)));
    let reset = with(&options.reset_on_progress());
    advance(SECOND / 2).await;
    assert_eq!(limited.longest(), 4 * SECOND);
    assert_eq!(total.longest(), SECOND);
    assert_eq!(
        reset.longest(),
        40 * SECOND,
        "progress extends it ten times"
    );
}

#[tokio::test(start_paused = true)]
async fn progress_starts_the_limit_again_up_to_max_total() {
    let options = RequestOptions::new()
        .reset_on_progress()
        .max_total(6 * SECOND);
    let deadline = with(&options);
    let for_pool = deadline.for_pool();
    assert_eq!(deadline.passed(), (4 * SECOND, "call_timeout"));
    advance(SECOND).await;
    report(&deadline, &options);
    assert_eq!(until_due(&deadline), 4 * SECOND);
    assert_eq!(deadline.passed(), (4 * SECOND, "call_timeout"));
    advance(SECOND).await;
    report(&deadline, &options);
    assert_eq!(until_due(&deadline), 4 * SECOND, "both end together");
    assert_eq!(deadline.passed(), (6 * SECOND, "RequestOptions::max_total"));
    advance(SECOND).await;
    report(&deadline, &options);
    assert_eq!(until_due(&deadline), 3 * SECOND);
    assert_eq!(deadline.passed(), (6 * SECOND, "RequestOptions::max_total"));
    assert_eq!(format!("{for_pool:?}"), "Deadline(moving)");
}

#[tokio::test(start_paused = true)]
async fn without_progress_to_wait_for_the_pool_watches_a_fixed_moment() {
    let deadline = with(&RequestOptions::new());
    let expected: Deadline = Some(deadline.due()).into();
    assert_eq!(
        format!("{:?}", deadline.for_pool()),
        format!("{expected:?}")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_is_overdue_from_call_timeout_on_whatever_the_limit_of_the_caller() {
    let options = RequestOptions::new().timeout(SECOND);
    let deadline = with(&options);
    for (passed, over, overdue) in [(0, false, false), (1, true, false), (3, true, true)] {
        advance(passed * SECOND).await;
        assert_eq!((deadline.is_over(), deadline.is_overdue()), (over, overdue));
    }
    assert_eq!(
        deadline.passed(),
        (SECOND, "RequestOptions::timeout"),
        "the knob that raises it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_notifications_half_the_time_left_and_five_seconds_at_most() {
    let options = RequestOptions::new();
    assert_eq!(with(&options).time_for_notifications(), 2 * SECOND);
    let long = with(&options.timeout(60 * SECOND));
    assert_eq!(long.time_for_notifications(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn progress_is_passed_on_whether_or_not_it_starts_the_limit_again() {
    for reset in [false, true] {
        let reports = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&reports);
        let mut options = RequestOptions::new().on_progress(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        options.reset_on_progress = reset;
        report(&with(&options), &options);
        assert_eq!(reports.load(Ordering::Relaxed), 1);
    }
    let options = RequestOptions::new();
    assert!(with(&options).sink(&options).is_none(), "no token is sent");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_limit_unless_progress_has_moved_it() {
    let options = RequestOptions::new().reset_on_progress();
    let deadline = with(&options);
    let begun = Instant::now();
    let work = async {
        sleep(3 * SECOND).await;
        report(&deadline, &options);
        sleep(3 * SECOND).await;
        report(&deadline, &options);
    };
    assert_eq!(deadline.within(work).await, Ok(()));
    let ended = deadline.within(std::future::pending::<()>()).await;
    assert_eq!(ended, Err(Interrupted::OutOfTime));
    assert_eq!(begun.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_limit_stands_still_while_the_handler_answers_and_max_total_does_not() {
    let options = RequestOptions::new().handler_limit(60 * SECOND);
    for (options, resets) in [
        (options.clone(), false),
        (options.clone().reset_on_progress(), true),
    ] {
        let deadline = with(&options);
        let began = Instant::now();
        let Since::Moving(clock) = &deadline.since else {
            panic!("the handler moves it");
        };
        let work = async {
            sleep(3 * SECOND).await;
            let answer = clock.begin_answer();
            sleep(30 * SECOND).await;
            assert!(!deadline.is_overdue() && !deadline.is_over());
            if resets {
                report(&deadline, &options);
                sleep(SECOND).await;
            }
            drop(answer);
            std::future::pending::<()>().await;
        };
        let ended = deadline.within(work).await;
        assert_eq!(ended, Err(Interrupted::OutOfTime));
        assert!(deadline.is_overdue());
        assert_eq!(deadline.passed(), (4 * SECOND, "call_timeout"));
        let took = if resets { 38 } else { 34 };
        assert_eq!(began.elapsed(), took * SECOND);
    }

    let deadline = with(&options.max_total(10 * SECOND));
    let began = Instant::now();
    let Since::Moving(clock) = &deadline.since else {
        panic!("the handler moves it");
    };
    let _answer = clock.begin_answer();
    let ended = deadline.within(std::future::pending::<()>()).await;
    assert_eq!(ended, Err(Interrupted::OutOfTime));
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert!(!deadline.is_overdue(), "it is the handler that is slow");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_ends_before_its_limit() {
    let token = CancellationToken::new();
    let deadline = with(&RequestOptions::new().cancellation(token.clone()));
    assert_eq!(deadline.within(async { 1 }).await, Ok(1));
    token.cancel();
    assert_eq!(
        deadline.within(async { 1 }).await,
        Err(Interrupted::Cancelled)
    );
}
