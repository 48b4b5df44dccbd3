import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "mobilebert.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "mobilebert.demo"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }

    // A compressed model could not be mapped: it would have to be copied into memory.
    androidResources { noCompress += "tflite" }
}

kotlin {
    compilerOptions.jvmTarget = JvmTarget.JVM_11
}

dependencies {
    implementation(project(":core"))
    implementation(libs.litert)
    // Leave these two out for a smaller app without GPU: the screen then says that it has none.
    runtimeOnly(libs.litert.gpu)
    runtimeOnly(libs.litert.gpu.api)

    testImplementation(libs.kotlin.test.junit)
}
