mod home;
mod proxies;
mod request;
mod sessions;

use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::cloud::calls::CallResult;
use crate::cloud::failure::Failure;
use crate::domain::sighting::FailureKind;
use crate::keys::secret::Secret;

const GRANTED: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
    <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
    <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"#;
const DENIED: &str = r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
    <Code>AccessDenied</Code><Message>not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>"#;

type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A fake of AWS: STS answers as given, other services with an empty success. Records URLs and bodies.
async fn aws(sts: (u16, &'static str)) -> (Aws, Requests) {
    let requests = Requests::default();
    let log = requests.clone();
    let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
        let body = request.body().bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(body).into_owned();
        let is_sts = body.contains("Action=AssumeRole");
        log.lock().unwrap().push((request.uri().to_string(), body));
        let (status, body) = if is_sts { sts } else { (200, "") };
        http::Response::builder().status(status).body(SdkBody::from(body)).unwrap()
    });
    let settings = AwsSettings {
        region: Some("eu-central-1".into()),
        endpoint: Some("http://127.0.0.1:1/base".into()),
        endpoints: BTreeMap::from([("kinesis", "http://127.0.0.1:2".into())]),
        regional_endpoints: BTreeMap::from([(
            "us-west-2".into(),
            BTreeMap::from([("kinesis", "http://127.0.0.1:3".into())]),
        )]),
        ..AwsSettings::default()
    };
    let mut aws = Aws::with_http_client(settings, Calls::default(), http).await;
    let own = Credentials::new("AKIA", "s", None, None, "test");
    aws.base = aws.base.to_builder().credentials_provider(SharedCredentialsProvider::new(own)).build();
    (aws, requests)
}

fn role() -> Role {
    Role { arn: "arn:aws:iam::111111111111:role/r".into(), external_id: Some(Secret::new("ext-1")) }
}

fn kinesis(aws: &Aws, account: &Account) -> aws_sdk_kinesis::Client {
    let config = aws.config("kinesis", account);
    let config =
        aws_sdk_kinesis::config::Builder::from(&config).interceptor(aws.counting("kinesis", account));
    aws_sdk_kinesis::Client::from_conf(config.build())
}

#[tokio::test]
async fn all_clients_of_a_role_use_one_assume_role_in_every_region() {
    let (aws, requests) = aws((200, GRANTED)).await;
    for region in ["eu-central-1", "us-east-1"] {
        let account = Account { region: region.into(), role: Some(role()) };
        aws.logs(&account).describe_log_groups().send().await.ok();
        kinesis(&aws, &account).list_shards().stream_name("s").send().await.ok();
    }
    let requests = requests.lock().unwrap();
    let assumed: Vec<_> = requests.iter().filter(|(_, body)| body.contains("AssumeRole")).collect();
    assert_eq!((requests.len(), assumed.len()), (5, 1), "{requests:?}");
    assert!(assumed[0].1.contains("ExternalId=ext-1"), "{assumed:?}");
    assert!(assumed[0].1.contains("RoleSessionName=traceprobe"));
    let counted = aws.calls().snapshot();
    assert!(counted.contains(&("sts", "AssumeRole".to_owned(), CallResult::Ok, 1)), "{counted:?}");
}

#[tokio::test]
async fn a_denied_role_is_counted_for_sts_and_tried_once() {
    let (aws, requests) = aws((403, DENIED)).await;
    let account = Account { region: "eu-central-1".into(), role: Some(role()) };
    let error = aws.logs(&account).describe_log_groups().send().await.unwrap_err();
    assert!(matches!(error, aws_sdk_cloudwatchlogs::error::SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(requests.lock().unwrap().len(), 1);
    assert_eq!(
        aws.calls().snapshot(),
        [("sts", "AssumeRole".to_owned(), CallResult::Failed(FailureKind::Denied), 1)]
    );
}

#[tokio::test]
async fn without_an_endpoint_of_http_no_call_leaves_unencrypted() {
    let (aws, requests) = aws((200, GRANTED)).await;
    let settings = AwsSettings { endpoint: None, endpoints: BTreeMap::new(), ..(*aws.settings).clone() };
    let aws = Aws { settings: Arc::new(settings), ..aws };
    let account = Account::in_region("eu-central-1");
    // As `AWS_ENDPOINT_URL_KINESIS` sets it.
    let config = aws_sdk_kinesis::config::Builder::from(&aws.config("kinesis", &account))
        .endpoint_url("http://kinesis.example")
        .interceptor(aws.counting("kinesis", &account));
    let client = aws_sdk_kinesis::Client::from_conf(config.build());
    let error = client.list_shards().stream_name("s").send().await.unwrap_err();
    let failure = Failure::of_aws(&error);
    assert!(failure.text.contains("kinesis.example is not reached over https"), "{}", failure.text);
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_endpoint_of_a_service_takes_precedence_over_the_common_one() {
    let (aws, requests) = aws((200, GRANTED)).await;
    let account = Account::in_region("eu-central-1");
    kinesis(&aws, &account).list_shards().stream_name("s").send().await.ok();
    aws.logs(&account).describe_log_groups().send().await.ok();
    let requests = requests.lock().unwrap();
    assert_eq!(requests[0].0, "http://127.0.0.1:2/");
    assert!(requests[1].0.starts_with("http://127.0.0.1:1/base"), "{}", requests[1].0);
}

#[tokio::test]
async fn the_endpoint_of_a_region_takes_precedence_over_that_of_all_regions() {
    let (aws, requests) = aws((200, GRANTED)).await;
    for region in ["eu-central-1", "us-west-2"] {
        kinesis(&aws, &Account::in_region(region)).list_shards().stream_name("s").send().await.ok();
    }
    aws.logs(&Account::in_region("us-west-2")).describe_log_groups().send().await.ok();
    let requests = requests.lock().unwrap();
    let urls: Vec<_> = requests.iter().map(|(url, _)| url.as_str()).collect();
    assert_eq!(urls[..2], ["http://127.0.0.1:2/", "http://127.0.0.1:3/"]);
    assert!(urls[2].starts_with("http://127.0.0.1:1/base"), "{urls:?}");
}

/// An answer of so many MiB that comes in pieces.
fn endless(mebibytes: usize) -> SharedHttpClient {
    infallible_client_fn(move |_: http::Request<SdkBody>| {
        let pieces = (0..mebibytes)
            .map(|_| Ok::<_, std::convert::Infallible>(Frame::data(vec![b' '; 1 << 20].into())));
        let body = StreamBody::new(futures::stream::iter(pieces));
        http::Response::builder().status(200).body(SdkBody::from_body_1_x(body)).unwrap()
    })
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_not_held() {
    let account = Account { region: "eu-central-1".into(), role: None };
    let settings =
        AwsSettings { region: Some(account.region.clone()), anonymous: true, ..AwsSettings::default() };
    let aws = Aws::with_http_client(settings.clone(), Calls::default(), endless(100_000)).await;
    let error = kinesis(&aws, &account).list_shards().stream_name("s").send().await.unwrap_err();
    let failure = Failure::of_aws(&error);
    assert_eq!(failure.kind, FailureKind::Garbled);
    assert!(failure.text.as_str().contains("it has more than 32 MiB"), "{}", failure.text);
    // An object is read piece by piece, whatever its size.
    let aws = Aws::with_http_client(settings, Calls::default(), endless(40)).await;
    let config = aws_sdk_s3::config::Builder::from(&aws.config("s3", &account));
    let config = config.interceptor(aws.counting("s3", &account)).build();
    let object =
        aws_sdk_s3::Client::from_conf(config).get_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(object.body.collect().await.unwrap().into_bytes().len(), 40 << 20);
}
