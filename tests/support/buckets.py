"""A bucket on an S3 server on this machine, with access to its contents."""

from typing import Any


class Bucket:
    """Created with this object.

    Args:
        address: `host:port` of the server.
        name: The bucket's name.
    """

    def __init__(self, address: str, name: str) -> None:
        import boto3

        self.name, self.address = name, address
        self.client: Any = boto3.client("s3", endpoint_url=f"http://{address}", region_name="us-east-1")
        self.client.create_bucket(Bucket=name)

    def url(self, folder: str = "out", credentials: str = "") -> str:
        """The URL of a folder in it, for `out`."""
        return f"s3://{credentials}{self.name}/{folder}?scheme=http&endpoint_override={self.address}&region=us-east-1"

    @property
    def keys(self) -> list[str]:
        """The keys of its objects."""
        return sorted(item["Key"] for item in self.client.list_objects_v2(Bucket=self.name).get("Contents", ()))

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def remove(self) -> None:
        """Delete the bucket and its objects, if it exists."""
        if self.name in (each["Name"] for each in self.client.list_buckets()["Buckets"]):
            for key in self.keys:
                self.client.delete_object(Bucket=self.name, Key=key)
            self.client.delete_bucket(Bucket=self.name)
