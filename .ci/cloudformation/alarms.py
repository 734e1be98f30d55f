"""Alarms that need no Prometheus: that the probe does not run, restarts, or logs errors."""

from policies import document
from yaml_text import Note, att, either, ref, sub


def alarm(description, **properties):
    common = {"AlarmDescription": description, "AlarmActions": [ref("AlarmTopic")], "OKActions": [ref("AlarmTopic")]}
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": {**common, **properties}}


def of_the_service(metric):
    return {
        "Namespace": "AWS/ECS",
        "MetricName": metric,
        "Dimensions": [
            {"Name": "ClusterName", "Value": ref("Cluster")},
            {"Name": "ServiceName", "Value": att("Service.Name")},
        ],
    }


def counted(name, pattern, metric):
    """A filter that counts lines of the probe's log."""
    transformation = {"MetricNamespace": "Traceprobe", "MetricName": metric, "MetricValue": "1", "DefaultValue": 0}
    return {
        name: {
            "Type": "AWS::Logs::MetricFilter",
            "Properties": {
                "LogGroupName": ref("LogGroup"),
                "FilterPattern": pattern,
                "MetricTransformations": [transformation],
            },
        }
    }


def log_alarm(description, metric, **properties):
    return alarm(
        description,
        Namespace="Traceprobe",
        MetricName=metric,
        Statistic="Sum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
        **properties,
    )


def events(description, pattern):
    target = {"Id": "topic", "Arn": ref("AlarmTopic")}
    return {
        "Type": "AWS::Events::Rule",
        "Properties": {"Description": description, "EventPattern": pattern, "Targets": [target]},
    }


def may_publish(service, **more):
    return {
        "Sid": service.title() + "MayPublish",
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": ref("AlarmTopic"),
        **more,
    }


def alarms():
    cluster = sub("arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster/${Cluster}")
    return {
        Note(
            "Alarms that need no Prometheus. They say that the probe does not run; what the pipeline does is in\n"
            "config/prometheus/rules.yml."
        ): None,
        "AlarmTopic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "traceprobe"}},
        "AlarmTopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {
                "Topics": [ref("AlarmTopic")],
                "PolicyDocument": document(
                    [
                        may_publish(
                            "cloudwatch", Condition={"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}
                        ),
                        # EventBridge supports no condition in the policy of a topic: with one, it publishes nothing
                        # (EventBridge user guide, "Amazon SNS permissions").
                        may_publish("events"),
                    ]
                ),
            },
        },
        "AlarmSubscription": {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasAlarmEmail",
            "Properties": {"TopicArn": ref("AlarmTopic"), "Protocol": "email", "Endpoint": ref("AlarmEmail")},
        },
        Note("A service without a task has no processor time, so the missing metric is the alarm."): None,
        "NoTaskAlarm": alarm(
            "traceprobe: no task has run for 5 minutes. See the service's events and its log group.",
            **of_the_service("CPUUtilization"),
            Statistic="SampleCount",
            Period=60,
            EvaluationPeriods=5,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
            TreatMissingData="breaching",
            ActionsEnabled=either("Runs", True, False),
        ),
        "MemoryAlarm": alarm(
            "traceprobe: the task uses more than 85 % of its memory and may be killed; give it more.",
            **of_the_service("MemoryUtilization"),
            Statistic="Maximum",
            Period=300,
            EvaluationPeriods=3,
            Threshold=85,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        ),
        **counted("ErrorLines", '{ $.level = "ERROR" }', "ErrorLines"),
        "ErrorAlarm": log_alarm("traceprobe: the probe logged an error. Search its log group for ERROR.", "ErrorLines"),
        **counted("IncidentLines", '{ $.message = "incident: *" }', "IncidentLines"),
        "IncidentAlarmOfTheLog": log_alarm(
            "traceprobe: an incident has begun. Open /traces/recent, or search the log group for incident.",
            "IncidentLines",
            ActionsEnabled=either("TellsIncidents", True, False),
        ),
        Note("The task ended by itself or was found unhealthy."): None,
        "TaskFailed": events(
            "traceprobe: a task failed",
            {
                "source": ["aws.ecs"],
                "detail-type": ["ECS Task State Change"],
                "detail": {
                    "clusterArn": [cluster],
                    "group": [sub("service:${Service.Name}")],
                    "lastStatus": ["STOPPED"],
                    "$or": [
                        {"stopCode": ["EssentialContainerExited", "TaskFailedToStart"]},
                        {"stoppedReason": [{"prefix": "Task failed container health checks"}]},
                    ],
                },
            },
        ),
        "DeploymentFailed": events(
            "traceprobe: a deployment failed and was rolled back",
            {
                "source": ["aws.ecs"],
                "detail-type": ["ECS Deployment State Change"],
                "resources": [ref("Service")],
                "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
            },
        ),
    }
