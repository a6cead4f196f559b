"""Saves a joblib file's model as MLflow's folder: python mlflow_folder.py MODEL FOLDER. Runs in MLflow's environment."""

import sys

import joblib
import mlflow.sklearn

if __name__ == "__main__":
    # Requirements are given: MLflow would start a process that imports everything to find them.
    mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], pip_requirements=["scikit-learn"], serialization_format="cloudpickle")
