//! ARNs of resources that are given by their names.

use super::*;

const WHO: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
    <Arn>arn:aws-cn:sts::999999999999:assumed-role/traceprobe-task/1</Arn><Account>999999999999</Account>
    </GetCallerIdentityResult></GetCallerIdentityResponse>"#;

/// A fake of STS, and how often it was called.
async fn sts(answer: (u16, &'static str)) -> (Aws, Arc<Mutex<usize>>) {
    let calls = Arc::<Mutex<usize>>::default();
    let count = calls.clone();
    let http = infallible_client_fn(move |_: http::Request<SdkBody>| {
        *count.lock().unwrap() += 1;
        http::Response::builder().status(answer.0).body(SdkBody::from(answer.1)).unwrap()
    });
    let endpoint = Some("http://127.0.0.1:1".into());
    let settings = AwsSettings { region: Some("cn-north-1".into()), endpoint, ..AwsSettings::default() };
    let mut aws = Aws::with_http_client(settings, Calls::default(), http).await;
    let own = Credentials::new("AKIA", "s", None, None, "test");
    aws.base = aws.base.to_builder().credentials_provider(SharedCredentialsProvider::new(own)).build();
    (aws, calls)
}

#[tokio::test(start_paused = true)]
async fn our_own_account_is_asked_for_once_and_gives_the_partition_too() {
    let (aws, calls) = sts((200, WHO)).await;
    for _ in 0..3 {
        let arn = aws.arn("kinesis", &Account::in_region("cn-north-1"), "stream/logs").await;
        assert_eq!(arn.as_deref(), Some("arn:aws-cn:kinesis:cn-north-1:999999999999:stream/logs"));
    }
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_role_names_its_account_without_a_call() {
    let (aws, calls) = sts((500, "")).await;
    let account = Account { role: Some(role()), ..Account::in_region("eu-central-1") };
    let arn = aws.arn("kinesis", &account, "stream/logs").await;
    assert_eq!(arn.as_deref(), Some("arn:aws:kinesis:eu-central-1:111111111111:stream/logs"));
    assert_eq!(*calls.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_does_not_answer_is_left_alone_for_ten_minutes() {
    let (aws, calls) = sts((403, DENIED)).await;
    let account = Account::in_region("cn-north-1");
    for (pause, asked) in [(0, 1), (599, 1), (2, 2)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        assert_eq!(aws.arn("kinesis", &account, "stream/logs").await, None);
        assert_eq!(*calls.lock().unwrap(), asked);
    }
}
