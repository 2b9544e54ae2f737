"""Questions over a corpus, asked sentence by sentence and answered with intervals; as `lignite.study`.

Each study is a file with a class; imported here, it is `lignite.study.NAME` and `lignite study NAME`.
"""

# in the order in which help and messages list them
# isort: off
from lignite.studies.pairings import Consistency
from lignite.studies.roles import Roles
from lignite.studies.path_shape import Paths
from lignite.studies.evidence_by_layer import Layers
from lignite.studies.checkpoints import Compare
from lignite.studies.context import Context
from lignite.studies.languages import Languages
from lignite.studies.starts import Baselines
from lignite.studies.audit import Trust

# isort: on
from lignite.studies.study import STUDIES, Study

__all__ = [
    "STUDIES",
    "Baselines",
    "Compare",
    "Consistency",
    "Context",
    "Languages",
    "Layers",
    "Paths",
    "Roles",
    "Study",
    "Trust",
]
