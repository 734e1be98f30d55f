# The stack of ../cloudformation/probe.yaml, for those who run Terraform: one resource, no second copy of it.
#
#   module "traceprobe" {
#     source     = "./traceprobe/config/ecs/terraform"
#     parameters = {
#       Image     = "999999999999.dkr.ecr.eu-central-1.amazonaws.com/traceprobe@sha256:..."
#       VpcId     = module.vpc.vpc_id
#       SubnetIds = join(",", module.vpc.private_subnets)
#     }
#   }

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the stack."
  type        = string
  default     = "traceprobe"
}

variable "parameters" {
  description = "Parameters of the stack, as probe.yaml describes them. Lists are joined with commas."
  type        = map(string)
}

variable "tags" {
  description = "Tags of the stack and of its resources."
  type        = map(string)
  default     = {}
}

resource "aws_cloudformation_stack" "traceprobe" {
  name          = var.name
  template_body = file("${path.module}/../cloudformation/probe.yaml")
  parameters    = var.parameters
  tags          = var.tags
  # The roles have names, because the tenants' trust policies name one of them.
  capabilities = ["CAPABILITY_NAMED_IAM"]
}

output "outputs" {
  description = "TaskRoleArn, TaskDefinition, SecurityGroup and AlarmTopic."
  value       = aws_cloudformation_stack.traceprobe.outputs
}
