"""Runs inside ROS 2: prints the type hashes that rosidl computes for the definitions of a package, without building it.

python3 interop_stock_hashes.py <folder of the package> <empty folder>
"""

import json
import os
import sys
from pathlib import Path

from rosidl_adapter.action import convert_action_to_idl
from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_adapter.srv import convert_srv_to_idl
from rosidl_generator_type_description import generate_type_hash

CONVERTERS = {"msg": convert_msg_to_idl, "srv": convert_srv_to_idl, "action": convert_action_to_idl}


def main() -> None:
    package, output = Path(sys.argv[1]), Path(sys.argv[2])
    for kind, convert in CONVERTERS.items():
        for file in sorted((package / kind).glob(f"*.{kind}")):
            convert(package, package.name, file.relative_to(package), output / kind)
    idl = sorted(path.relative_to(output) for path in output.rglob("*.idl"))
    shares = [Path(prefix, "share") for prefix in os.environ["AMENT_PREFIX_PATH"].split(":")]
    arguments = output / "arguments.json"
    arguments.write_text(
        json.dumps(
            {
                "package_name": package.name,
                "output_dir": str(output),
                "idl_tuples": [f"{output}:{path}" for path in idl],
                "include_paths": [f"{folder.name}:{folder}" for share in shares for folder in share.iterdir()],
            }
        )
    )
    generate_type_hash(str(arguments))
    hashes = {}
    for path in idl:
        for entry in json.loads((output / path).with_suffix(".json").read_text())["type_hashes"]:
            hashes[entry["type_name"]] = entry["hash_string"]
    print(json.dumps(hashes))


if __name__ == "__main__":
    main()
