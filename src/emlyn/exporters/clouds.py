"""`sagemaker`, `vertex`, `kserve`, `cloudrun`, `azureml`: the image, the files each platform needs, and the exact commands."""

from __future__ import annotations

import json
from pathlib import Path

from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
from emlyn.exporters._image import MODEL, context, log_note, quoted, slug
from emlyn.plugins import hook

GATEWAY = "The platform authenticates callers, so its routes need no token of ours (EMLYN_OPEN in the Dockerfile); every other route still does."


class SageMaker:
    """A container of one's own: port 8080, `serve` as argument, `/ping` and `/invocations`; SageMaker expects root."""

    name = "sagemaker"
    about = "an Amazon SageMaker endpoint or batch transform"

    def export(self, what: Exportable, out: Path) -> Exported:
        name = slug(what.version.name)
        model = f"{name}-{what.version.version}"
        image = f"$ACCOUNT.dkr.ecr.$REGION.amazonaws.com/{name}:{what.version.version}"
        endpoint = {
            "EndpointConfigName": model,
            "ProductionVariants": [{"VariantName": "champion", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}],
        }
        files = {
            **context(what, root=True, environment={"EMLYN_OPEN": "sagemaker", "EMLYN_ALLOWED_HOSTS": "*"}),
            "endpoint-config.json": json.dumps(endpoint, indent=1),
        }
        return Exported(
            write_all(out, files),
            (
                f"aws ecr create-repository --repository-name {name}",
                "aws ecr get-login-password | docker login --username AWS --password-stdin $ACCOUNT.dkr.ecr.$REGION.amazonaws.com",
                f"docker build -t {image} {quoted(out)} && docker push {image}",
                f"aws sagemaker create-model --model-name {model} --primary-container Image={image} --execution-role-arn $ROLE",
                f"aws sagemaker create-endpoint-config --cli-input-json file://{quoted(out)}/endpoint-config.json",
                f"aws sagemaker create-endpoint --endpoint-name {name} --endpoint-config-name {model}",
            ),
            (GATEWAY, "Bodies: CSV without a header in the order of the contract, JSON or JSON lines. The Inference-Id becomes the prediction id."),
        )


class Vertex:
    """A custom container: port and routes from `AIP_*`."""

    name = "vertex"
    about = "a Vertex AI endpoint"

    def export(self, what: Exportable, out: Path) -> Exported:
        name = slug(what.version.name)
        image = f"$REGION-docker.pkg.dev/$PROJECT/models/{name}:{what.version.version}"
        files = context(what, environment={"EMLYN_OPEN": "vertex", "EMLYN_ALLOWED_HOSTS": "*"})
        upload = f"--container-image-uri={image} --container-ports=8080 --container-predict-route=/predict --container-health-route=/readyz"
        return Exported(
            write_all(out, files),
            (
                f"gcloud builds submit {quoted(out)} --tag {image}",
                f"gcloud ai models upload --region=$REGION --display-name={name} {upload}",
                f"gcloud ai endpoints create --region=$REGION --display-name={name}",
                "gcloud ai endpoints deploy-model $ENDPOINT --region=$REGION --model=$MODEL --display-name=champion --machine-type=n1-standard-2",
            ),
            (GATEWAY,),
        )


class KServe:
    """An InferenceService with the Open Inference Protocol V2; V1 is answered on the same port."""

    name = "kserve"
    about = "a KServe InferenceService (protocols V1 and V2)"

    def export(self, what: Exportable, out: Path) -> Exported:
        name = slug(what.version.name)
        image = f"registry.example.org/{name}:{what.version.version}"
        served = {
            "EMLYN_MODELS": f"{name}=/opt/emlyn/{MODEL}",
            "EMLYN_OPEN": "kserve",
            "EMLYN_ALLOWED_HOSTS": "*",
        }  # KServe calls it by the service's name
        files = {**context(what, environment=served), "inference-service.yaml": _service(name, image)}
        return Exported(
            write_all(out, files),
            (f"docker build -t {image} {quoted(out)} && docker push {image}", f"kubectl apply -f {quoted(out)}/inference-service.yaml"),
            (GATEWAY, "Put your own registry's name into inference-service.yaml and the command."),
        )


def _service(name: str, image: str) -> str:
    return f"""apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    containers:
      - name: kserve-container
        image: {image}
        args: ["serve"]
        ports:
          - containerPort: 8080
            protocol: TCP
        readinessProbe:
          httpGet: {{path: /v2/health/ready, port: 8080}}
        livenessProbe:
          httpGet: {{path: /v2/health/live, port: 8080}}
        securityContext:
          runAsNonRoot: true
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {{drop: ["ALL"]}}
        volumeMounts:
          - {{name: tmp, mountPath: /tmp}}
    volumes:
      - name: tmp
        emptyDir: {{}}
"""


class CloudRun:
    """A service behind Google's front end, with our tokens."""

    name = "cloudrun"
    about = "a Google Cloud Run service"

    def export(self, what: Exportable, out: Path) -> Exported:
        name = slug(what.version.name)
        files = context(what, environment={"EMLYN_ALLOWED_HOSTS": "*"})
        return Exported(
            write_all(out, files),
            (
                "openssl rand -hex 32 | gcloud secrets create emlyn-token --data-file=-",
                f"gcloud run deploy {name} --source {quoted(out)} --no-allow-unauthenticated --set-secrets EMLYN_TOKEN=emlyn-token:latest",
            ),
            (
                "Cloud Run ends a container 10 s after SIGTERM; requests in flight get 8 s.",
                log_note(files),
            ),
        )


class AzureML:
    """A managed online endpoint with a container of one's own."""

    name = "azureml"
    about = "an Azure Machine Learning online endpoint"

    def export(self, what: Exportable, out: Path) -> Exported:
        name = slug(what.version.name)
        image = f"$REGISTRY.azurecr.io/{name}:{what.version.version}"
        deployment = f"""$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: champion
endpoint_name: {name}
environment:
  image: {image}
  inference_config:
    liveness_route: {{path: /livez, port: 8080}}
    readiness_route: {{path: /readyz, port: 8080}}
    scoring_route: {{path: /invocations, port: 8080}}
instance_type: Standard_DS2_v2
instance_count: 1
request_settings:
  max_concurrent_requests_per_instance: 64
  request_timeout_ms: 60000
"""
        files = {**context(what, environment={"EMLYN_OPEN": "mlflow", "EMLYN_ALLOWED_HOSTS": "*"}), "deployment.yaml": deployment}
        return Exported(
            write_all(out, files),
            (
                f"az acr build --registry $REGISTRY --image {name}:{what.version.version} {quoted(out)}",
                f"az ml online-endpoint create --name {name}",
                f"az ml online-deployment create --file {quoted(out)}/deployment.yaml --all-traffic",
            ),
            (GATEWAY,),
        )


@hook
def emlyn_exporters() -> list[Exporter]:
    return [SageMaker(), Vertex(), KServe(), CloudRun(), AzureML()]
