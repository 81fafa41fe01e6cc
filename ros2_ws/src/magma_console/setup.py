from setuptools import find_packages, setup

PACKAGE = "magma_console"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["static/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={
        "console": [
            "nicegui==3.18.0",  # pinned: the pages build on its run_with and its elements' names
            "uvicorn>=0.40,<1",  # comes with NiceGUI; the door runs it by itself
            "starlette>=0.49,<2",  # likewise
            "websockets>=13",  # what uvicorn speaks WebSocket with
        ]
    },
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="The operator's page in the browser: what the robot sees, who has the arm, take-over, emergency stop.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": ["console = magma_console.programs:main", "markers = magma_console.programs:main"],
    },
)
