"""The endpoint of serve.py on a Ray cluster: Ray Serve, as many models as there are replicas, each loaded once.

serve run examples.serve_ray:app
curl localhost:8000/explain --json '{"text": "A superb film."}'
"""

from examples.serve import WAITING, make_app
from ray import serve


@serve.deployment(
    num_replicas=1,  # so many questions are at work at a time
    max_ongoing_requests=2,  # of a replica: the one at work, and the one that it finds when it is done
    max_queued_requests=WAITING,  # of all; the next is sent away with 503
    ray_actor_options={"num_cpus": 1},  # and "num_gpus": 1, where the model is on one
)
@serve.ingress(make_app())
class Explainer:
    """A replica is the application of serve.py, with its desk, its limits and its errors."""


app = Explainer.bind()
