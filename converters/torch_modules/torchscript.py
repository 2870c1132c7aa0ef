"""Opens TorchScript archives: programs in torch's own small language, read without Python's pickle.

Their data.pkl goes through torch's C++ unpickler, which makes tensors, numbers and classes of the archive's own code
and nothing else. The code itself cannot name Python, but it may run when it is loaded, and a few operators reach files
or other machines: an archive that mentions one of those is refused before it is opened.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused

_CODE_BYTES_MAX = 64 * 2**20
# Operators of torch's interpreter that write or map a file, call a remote process, or build a native object.
_FORBIDDEN = re.compile(
    rb"\b(save|from_file|rpc_sync|rpc_async|rpc_remote|stream_write_value32_)\s*\(|\btorch\.classes\b"
)


def open_torchscript(file: Path) -> Any:
    """The module, on the CPU and in evaluation mode. Raises: Refused."""
    import torch

    _check_code(file)
    try:
        module = torch.jit.load(str(file), map_location="cpu")
        module.eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise Refused(f"the TorchScript file cannot be opened: {first_line(error)}") from error
    return module


def _check_code(file: Path) -> None:
    """Raises Refused. Reads with torch's own reader, so that what is checked is what will be run."""
    import torch

    try:
        reader = torch._C.PyTorchFileReader(str(file))
        names = [name for name in reader.get_all_records() if name.startswith("code/") and name.endswith(".py")]
        if not names:
            raise Refused("the file is no TorchScript archive: it holds no code")
        for name in names:
            code = reader.get_record(name)
            found = _FORBIDDEN.search(code) if len(code) <= _CODE_BYTES_MAX else None
            if len(code) > _CODE_BYTES_MAX:
                raise Refused(f"the TorchScript file's {name} is over {_CODE_BYTES_MAX} bytes")
            if found:
                word = found.group(0).decode().rstrip("( ")
                raise Refused(f"the TorchScript code uses {word!r}, which reaches beyond the model; save it without")
    except RuntimeError as error:
        raise Refused(f"the file is no TorchScript archive: {first_line(error)}") from error
