"""Students: waveform [B, N] → embedding [B, D]; and the speaker head that they train under.

- `table`     every model by name; `build(name, **fields)`
- `student`   front end and backbone in one module
- `frontend`  which features: a frozen record, and the presets by name
- `fbank`     waveform → these features, without complex numbers; `fbank_fft` the same for training on a CPU
- `gate`      frames without sound are left out
- `backbone`  what every architecture shares
- `xvector`, `resnet`, `campplus`, `ecapa`, …  features → embedding: an architecture a file, as `table` imports them
- `redimnet2_blocks` the parts of `redimnet2`
- `pooling`   frames → one vector
- `head`      class centres with the speakers' names
- `cost`      parameters and multiply–accumulates
- `foreign`   other projects' weights files, read as tensors by name
- `threedspeaker` files and folders that 3D-Speaker published → students
- `lightning` checkpoints of PyTorch Lightning: their tensors, and nothing else that is pickled there
- `pyannote`  pyannote.audio's checkpoints → students
- `wespeaker_known` WeSpeaker's models by name, and how each is built here
- `wespeaker` WeSpeaker's model folders → students with their class centres
"""

from distilvox.models.cost import macs, parameters_count
from distilvox.models.student import Student
from distilvox.models.table import MODELS, build

__all__ = ["MODELS", "Student", "build", "macs", "parameters_count"]
