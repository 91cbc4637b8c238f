/** What stands for AWS: its own clients with their description of EC2, and moto, an EC2 that others have written. */
export const AWS_PACKAGES = ['boto3==1.44.8', 'botocore==1.44.8', 'awscli==1.46.3', 'moto[ec2,server]==5.2.5'];
